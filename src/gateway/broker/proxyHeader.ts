/** Reads the header that a TLS terminator puts before what a client sends: PROXY protocol, version 2 (haproxy.org, doc/proxy-protocol.txt §2.2).
 *
 *  | at | bytes | |
 *  |---|---|---|
 *  | 0 | 12 | signature |
 *  | 12 | 1 | version 2, command: 0 LOCAL, 1 PROXY |
 *  | 13 | 1 | address family, transport |
 *  | 14 | 2 | length of what follows |
 *  | 16 | 12 or 36 | addresses (source, destination), ports |
 *  | | | type-length-value fields: type 1, length 2, value |
 */

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const headBytes = 16;
/** The rest of a header; ours has some 200 bytes. */
const maxRestBytes = 1_024;
const proxied = 0x21;
const tcp4 = { code: 0x11, addressBytes: 4 };
const tcp6 = { code: 0x21, addressBytes: 16 };
const portsBytes = 4;

/** Types of fields (§2.2.1, §2.2.5, §2.2.6). */
const uniqueId = 0x05;
const ssl = 0x20;
/** In the first byte of the field about TLS: the client used it, showed a certificate on this connection, or in the session that it resumes. */
const usedTls = 0x01;
const showedCertificate = 0x02 | 0x04;

const fingerprintForm = /^[0-9a-f]{64}$/;

export type ProxyHeader = {
  /** What follows belongs to the client. */
  readonly bytes: number;
  readonly remoteAddress: string;
  /** SHA-256 of the certificate the client has shown, 64 hex: the unique id that we have the terminator send. Undefined when it showed none. */
  readonly certificateSha256: string | undefined;
};

/** @returns `more` while it is not there as a whole, `none` when it is no such header, or not that of a client over TLS */
export function readProxyHeader(bytes: Buffer): ProxyHeader | 'more' | 'none' {
  const begun = Math.min(bytes.length, signature.length);
  if (!bytes.subarray(0, begun).equals(signature.subarray(0, begun))) return 'none';
  if (bytes.length < headBytes) return 'more';
  const restBytes = bytes.readUInt16BE(14);
  const family = [tcp4, tcp6].find(({ code }) => code === bytes[13]);
  if (bytes[12] !== proxied || family === undefined || restBytes > maxRestBytes) return 'none';
  const end = headBytes + restBytes;
  if (bytes.length < end) return 'more';
  const fieldsAt = headBytes + 2 * family.addressBytes + portsBytes;
  const fields = fieldsIn(bytes.subarray(fieldsAt, end));
  const tls = fields?.get(ssl)?.[0] ?? 0;
  if (fields === undefined || (tls & usedTls) === 0) return 'none';
  const address = bytes.subarray(headBytes, headBytes + family.addressBytes);
  const fingerprint = fields.get(uniqueId)?.toString('latin1').toLowerCase() ?? '';
  const isShown = (tls & showedCertificate) !== 0 && fingerprintForm.test(fingerprint);
  return { bytes: end, remoteAddress: addressText(address), certificateSha256: isShown ? fingerprint : undefined };
}

/** @returns undefined when a field is cut off */
function fieldsIn(bytes: Buffer): ReadonlyMap<number, Buffer> | undefined {
  const fields = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    if (at + 3 > bytes.length) return undefined;
    const end = at + 3 + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return undefined;
    fields.set(bytes[at] as number, bytes.subarray(at + 3, end));
    at = end;
  }
  return fields;
}

function addressText(address: Buffer): string {
  if (address.length === tcp4.addressBytes) return address.join('.');
  return Array.from({ length: address.length / 2 }, (_, i) => address.readUInt16BE(2 * i).toString(16)).join(':');
}
