import { randomBytes, sign } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { attestationOffer, judgeOf, sessionOffer, spdmIn, type WiredIdentity } from '../../../gateway-device/link/wiredIdentity.ts';
import { fromBase64url, toBase64url } from '../../../src/bytes.ts';
import type { CertSlot } from '../../../src/spdm/certSlot.ts';
import { capability } from '../../../src/spdm/constants.ts';
import { allAlgorithms } from '../../../src/spdm/negotiation.ts';
import { patience } from '../../../src/spdm/requester/patience.ts';
import { runSessionSetup } from '../../../src/spdm/requester/run.ts';
import { createResponder, deviceFlags } from '../../../src/spdm/responder/responder.ts';
import { type Authority, codeOf, makeDevice, makeIca, makeKey, makeRoot } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';

/** A device with a certificate for a P-384 key, which hashes by SHA-384 only and asks who opens a session. */

const slotOf = (root: Authority, ica: Authority, certificate: Uint8Array, key: ReturnType<typeof makeKey>): CertSlot => ({
  certificates: [root.der, ica.der, certificate],
  sign: async (input, hash) => new Uint8Array(sign(hash, input, { key: key.privateKey, dsaEncoding: 'ieee-p1363' })),
});
const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));

let identity: WiredIdentity;
let device: CertSlot;
let machine: CertSlot;
let machineKey: ReturnType<typeof makeKey>;

beforeAll(async () => {
  const root = await makeRoot();
  const ica = await makeIca(root);
  const key = makeKey('P-384');
  device = slotOf(root, ica, await makeDevice(ica, key), key);
  machineKey = makeKey();
  machine = slotOf(root, ica, await makeDevice(ica, machineKey), machineKey);
  identity = { certificate: device.certificates[2]!, root: root.der, spdm: { leastVersion: '1.2', signatures: ['P-384'] } };
});

const open = (shown: WiredIdentity) => {
  const flags = deviceFlags | capability.mutualAuthentication | capability.encapsulated;
  const responder = createResponder({
    slots: [device],
    randomBytes: random,
    measurements: () => [],
    algorithms: { ...allAlgorithms, baseAsym: 0x80, baseHash: 0x2, dhe: 0x10 },
    capabilities: { flags, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 },
    mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: async () => machineKey.spki.slice(-65) },
  });
  const options = { nonce: random(32), randomBytes: random, wait: patience(async () => undefined), ownSlots: [machine] };
  return runSessionSetup({ ...options, ...sessionOffer(shown) }, async wire => (await responder.handle(wire))!);
};

it('a session is opened with it, and the P-256 key of the machine signs over SHA-384 (R51)', async () => {
  covers('R51');
  const { mutual, connection } = await open(identity);
  expect([mutual, connection.algorithms?.hash.name]).toEqual([true, 'sha384']);
});

it('nothing is offered that the line does not allow (R84)', async () => {
  covers('R84');
  expect(await codeOf(() => open({ ...identity, spdm: { signatures: ['P-256'] } }))).toBe('SPDM_UNSUPPORTED');
  expect(await codeOf(() => open({ ...identity, spdm: { leastVersion: '1.3' } }))).toBe('SPDM_UNSUPPORTED');
  expect(attestationOffer({ ...identity, spdm: { leastVersion: '1.4' } }).versions).toEqual([0x14]);
});

it('another certificate than the server has named is refused (T9)', async () => {
  covers('T9');
  expect(await codeOf(() => open({ ...identity, certificate: machine.certificates[2]! }))).toBe('CHAIN_REFUSED');
});

it('its issuing CA need not state what it issues: the server has named the certificate as that of a device; another use is refused', async () => {
  const root = await makeRoot();
  const under = async (use: string, changes: { readonly scope?: never } = {}) => {
    const ica = await makeIca(root, use, undefined, 'P-256', changes);
    const key = makeKey();
    const certificate = await makeDevice(ica, key);
    return { identity: { certificate, root: root.der }, chain: [root.der, ica.der, certificate] };
  };
  const silent = await under('meter', { scope: undefined as never });
  expect(() => judgeOf(silent.identity).trust(silent.chain, undefined)).not.toThrow();
  const servers = await under('server');
  expect(await codeOf(() => judgeOf(servers.identity).trust(servers.chain, undefined))).toBe('CHAIN_REFUSED');
});

it('a server that names no policy, or one that is not known here, means the default', () => {
  const read = (spdm: unknown) =>
    attestationOffer({ ...identity, ...spdmIn({ spdm }, ({ publicKey }) => fromBase64url(String(publicKey))) });
  for (const spdm of [undefined, null, 'x', {}, { leastVersion: '9.9' }, { leastVersion: 1 }])
    expect(read(spdm).versions, JSON.stringify(spdm)).toEqual([0x12, 0x13, 0x14]);
  expect(read({ publicKey: toBase64url(Uint8Array.of(1, 2)) }).publicKey).toEqual(Uint8Array.of(1, 2));
});
