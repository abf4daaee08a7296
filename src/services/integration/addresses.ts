import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { NusecError } from '../../errors.ts';

/** Which addresses the server connects to because somebody has typed a name: those of the Internet, and the networks that a setting names. What
 *  is on this machine, beside it and behind it is nobody's to ask through us (server-side request forgery). */

/** Loopback, private, link-local, shared, documentation, benchmark, multicast and reserved ranges (RFC 6890 and its registries), and those that
 *  carry an IPv4 address inside. */
const special: readonly string[] = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24'],
  ...['192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20', '5f00::/16'],
  ...['fc00::/7', 'fe80::/9', 'ff00::/8'],
];

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** @param networks such as `10.0.0.0/8` @throws NusecError BAD_REQUEST */
function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = ''] = network.split('/');
    const most = isIP(address) === 6 ? 128 : 32;
    if (isIP(address) === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > most)
      throw new NusecError('BAD_REQUEST', `${network} is not a network such as 10.0.0.0/8`);
    list.addSubnet(address, Number(bits), familyOf(address));
  }
  return list;
}

export type AddressGuard = {
  /** @param host as `URL.hostname` has it @throws NusecError FORBIDDEN for an address that is not allowed; a name is judged when it is resolved */
  requireHost(host: string): void;
  /** For a connection: gives only addresses that are allowed. */
  readonly lookup: LookupFunction;
};

/** @param allowed networks beside those of the Internet @throws NusecError BAD_REQUEST */
export function createAddressGuard(allowed: readonly string[]): AddressGuard {
  const [refused, own] = [listOf(special), listOf(allowed)];
  const isAllowed = (address: string): boolean => own.check(address, familyOf(address)) || !refused.check(address, familyOf(address));
  const refusal = (host: string): NusecError =>
    new NusecError('FORBIDDEN', `${host} is not an address of the Internet; the setting webhooks.privateNetworks allows others`);
  return {
    requireHost(host) {
      const address = host.replace(/^\[|\]$/g, '');
      if (isIP(address) !== 0 && !isAllowed(address)) throw refusal(address);
    },
    lookup(host, options, done) {
      lookup(host, { ...options, all: true }, (error, found) => {
        if (error !== null) return done(error, '');
        const usable = found.filter(({ address }) => isAllowed(address));
        const [first] = usable;
        if (first === undefined) return done(refusal(host), '');
        return options.all ? done(null, usable) : done(null, first.address, first.family);
      });
    },
  };
}
