/** Host names and IP addresses of server certificates (RFC 5280 §4.2.1.6, RFC 9525). No wildcards. */

/** @returns 4 or 16 bytes of an IP address in text form, undefined when it is not one */
export function hostBytes(text: string): Uint8Array | undefined {
  return text.includes(':') ? ipv6(text) : ipv4(text);
}

/** Whether a certificate with these names is for this host. @param host DNS name or IP address as dialled */
export function hostMatches(
  host: string,
  names: { readonly dnsNames: readonly string[]; readonly ipAddresses: readonly Uint8Array[] },
): boolean {
  const address = hostBytes(host);
  if (address) return names.ipAddresses.some(known => Buffer.compare(known, address) === 0);
  return names.dnsNames.some(known => known.toLowerCase() === host.toLowerCase());
}

function ipv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  const valid = parts.length === 4 && parts.every(part => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  return valid ? Uint8Array.from(parts.map(Number)) : undefined;
}

function ipv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  const groups = halves.map(half => (half === '' ? [] : half.split(':')));
  const count = groups.flat().length;
  const complete = halves.length === 1 ? count === 8 : halves.length === 2 && count < 8;
  if (!complete || !groups.flat().every(group => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  const [head = [], tail = []] = groups;
  const all = [...head, ...Array<string>(8 - count).fill('0'), ...tail].map(group => Number.parseInt(group, 16));
  return Uint8Array.from(all.flatMap(group => [group >> 8, group & 0xff]));
}
