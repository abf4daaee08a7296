/** Small helpers on bytes, used everywhere. Bytes are Uint8Array; hex and base64url only at the edge. */

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Digits of either case: what comes from outside is held to lower case before, by the pattern of its field.
 *  @throws TypeError when the text is not an even number of hex digits */
export function fromHex(text: string): Uint8Array {
  // It ends at the first character that is no digit.
  const bytes = Buffer.from(text, 'hex');
  if (2 * bytes.length !== text.length) throw new TypeError('not hex');
  return new Uint8Array(bytes);
}

export function toBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

/** What the last character may be, by the length of the text: the bits that are left over are zero. */
const lastCharacters: readonly string[] = ['', '', 'AQgw', 'AEIMQUYcgkosw048'];

/** Whether a text is the one spelling of some bytes in base64url without padding (RFC 4648 §3.5, §5). */
export function isBase64url(text: string): boolean {
  const over = text.length % 4;
  const isWhole = over === 0 || (over !== 1 && lastCharacters[over]?.includes(text.at(-1) ?? '') === true);
  return isWhole && /^[A-Za-z0-9_-]*$/.test(text);
}

/** @throws TypeError when the text is not base64url without padding, or another spelling of what it stands for */
export function fromBase64url(text: string): Uint8Array {
  if (!isBase64url(text)) throw new TypeError('not base64url');
  return new Uint8Array(Buffer.from(text, 'base64url'));
}

/** Whether a text is the one spelling of some bytes in base64 with padding (RFC 4648 §3.5, §4). */
export const isBase64 = (text: string): boolean => Buffer.from(text, 'base64').toString('base64') === text;

/** From here on it costs as much to zero memory as to write it. */
const zeroedBytes = 1024;

/** Memory that may have any content: the caller writes all of it. */
export const unwritten = (bytes: number): Uint8Array =>
  bytes > zeroedBytes ? new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer) : new Uint8Array(bytes);

export function totalBytes(parts: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const { length } of parts) bytes += length;
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = unwritten(totalBytes(parts));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** Not constant-time: for public values only. Secrets are compared with crypto.timingSafeEqual. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
