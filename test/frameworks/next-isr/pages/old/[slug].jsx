import { read } from "../../app/read.js"

export default function Page({ text }) {
  return <h1>{text}</h1>
}

export const getStaticPaths = () => ({ paths: [], fallback: "blocking" })

export async function getStaticProps() {
  return { props: { text: await read() }, revalidate: 3600 }
}
