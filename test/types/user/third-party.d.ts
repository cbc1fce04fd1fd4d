/** SvelteKit's types name it, and every site of SvelteKit's has it: test/frameworks gets along without. */
declare module "@sveltejs/vite-plugin-svelte" {
  export interface Options {
    readonly preprocess?: unknown
    readonly experimental?: object
  }
}
