import { beforeAll, describe, expect, it } from 'vitest';
import { recordedIn } from '../../../gateway-device/link/knownIssuers.ts';
import { serverRefusal } from '../../../gateway-device/link/serverCheck.ts';
import type { TrustBundle } from '../../../src/production/trustBundle.ts';
import { type Authority, makeIca, makeLeaf, makeRoot, now } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';

/** What a trust bundle says of issuing CAs, and of the server that one of them certified. */

let root: Authority;
let ica: Authority;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root, 'server', now, 'P-256', { bundleBefore: 4 });
});

const bundle = (changes: Partial<TrustBundle> = {}): TrustBundle => ({
  version: 4,
  issuedAtSeconds: Date.parse(now) / 1000,
  roots: [root.der],
  issuers: [],
  signingKeys: [],
  ...changes,
});
const naming = (authority: Authority, ...uses: string[]) => uses.map(use => ({ icaId: 'x', use, certificate: authority.der }));

describe('an issuing CA and the trust bundle', () => {
  it('that names it: it is known for these uses', () => {
    expect(recordedIn(bundle({ issuers: naming(ica, 'server') }))(ica.certificate)).toEqual([{ use: 'server' }]);
    expect(recordedIn(bundle({ issuers: naming(ica, 'root') }))(ica.certificate)).toEqual([]);
  });

  it('that does not name it: younger ones are unknown, older ones were taken out, also within the same second', () => {
    for (const version of [3, 4]) expect(recordedIn(bundle({ version }))(ica.certificate)).toEqual([]);
    expect(recordedIn(bundle({ version: 5, issuedAtSeconds: 0 }))(ica.certificate)).toBe('removed');
  });

  it('is told by its date when it does not state which bundle came before it', async () => {
    const { certificate } = await makeIca(root, 'server');
    const seconds = Date.parse(now) / 1000;
    expect(recordedIn(bundle({ issuedAtSeconds: seconds - 1 }))(certificate)).toEqual([]);
    for (const issuedAtSeconds of [seconds, seconds + 1]) expect(recordedIn(bundle({ issuedAtSeconds }))(certificate)).toBe('removed');
  });
});

describe('a server', () => {
  const refusal = (sent: readonly Uint8Array[], changes: Partial<TrustBundle> = {}) =>
    serverRefusal(sent, { roots: [root.der], bundle: bundle(changes) });

  it('is good under an issuing CA of servers that is in use or younger than the bundle', async () => {
    const leaf = await makeLeaf('server', ica);
    expect(refusal([leaf, ica.der])).toBeUndefined();
    expect(refusal([leaf, ica.der, root.der], { issuers: naming(ica, 'server') })).toBeUndefined();
    expect(refusal([leaf, ica.der], { version: 5 })).toMatch(/not trusted any more/);
  });

  it('is refused with a chain that only looks right by its names (T14)', async () => {
    covers('T14');
    const device = await makeIca(root, 'meter');
    const leaf = await makeLeaf('server', device);
    const impostor = await makeIca(await makeRoot(), 'server', now, 'P-256', { bundleBefore: 99, organization: 'x' });
    const twin = await makeIca(await makeRoot(), 'server', now, 'P-256', {
      publicKey: device.key.spki,
      line: 'meter',
      commonName: 'Example meter CA 1',
    });
    for (const sent of [[], [leaf], [leaf, device.der], [leaf, impostor.der], [leaf, twin.der], [leaf, twin.der, device.der]])
      expect(refusal(sent)).toMatch(/./);
  });
});
