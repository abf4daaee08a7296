/** The network an address belongs to: /24 of IPv4, /48 of IPv6, so that who has many addresses of one network has one share. */
export function prefixOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+)\.\d+$/i.exec(address);
  if (mapped) return `${mapped[1]}.0/24`;
  if (address.includes('.')) return `${address.slice(0, address.lastIndexOf('.'))}.0/24`;
  const [head = '', tail] = address.split('::');
  const groups = head.split(':').filter(group => group !== '');
  const missing = tail === undefined ? 0 : 8 - groups.length - tail.split(':').filter(group => group !== '').length;
  const all = [...groups, ...Array.from({ length: missing }, () => '0'), ...(tail ?? '').split(':').filter(group => group !== '')];
  return `${all.slice(0, 3).join(':')}::/48`;
}
