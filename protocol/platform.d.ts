/**
 * The web-standard names that Node, workerd and browsers share and that protocol/ may use.
 * Nothing else exists here on purpose: a `process`, a `Buffer` or a `fetch` does not compile in this room.
 */

declare class URL {
  constructor(url: string, base?: string)
  static canParse(url: string, base?: string): boolean
  readonly href: string
  readonly origin: string
  readonly protocol: string
  readonly username: string
  readonly password: string
  readonly host: string
  readonly hostname: string
  readonly port: string
  readonly pathname: string
  readonly search: string
  readonly hash: string
}

declare class TextEncoder {
  encode(input?: string): Uint8Array<ArrayBuffer>
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean })
  decode(input?: Uint8Array): string
}

declare function btoa(data: string): string
declare function atob(data: string): string

interface CryptoKey {
  readonly type: string
}

declare const crypto: {
  getRandomValues<T extends Uint8Array>(array: T): T
  readonly subtle: {
    digest(algorithm: string, data: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>
    importKey(
      format: "raw",
      key: Uint8Array<ArrayBuffer>,
      algorithm: { name: string; hash?: string },
      extractable: boolean,
      usages: ("sign" | "verify")[],
    ): Promise<CryptoKey>
    sign(algorithm: string, key: CryptoKey, data: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer>
    verify(
      algorithm: string,
      key: CryptoKey,
      signature: Uint8Array<ArrayBuffer>,
      data: Uint8Array<ArrayBuffer>,
    ): Promise<boolean>
  }
}
