import { beforeAll, describe, expect, it } from 'vitest';
import type { Curve } from '../../src/ecKey.ts';
import { checkChain } from '../../src/pki/chain.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import { capability } from '../../src/spdm/constants.ts';
import { decodeEvidence, encodeEvidence, verifyEvidence } from '../../src/spdm/evidence.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { leafSlot, signerOf } from '../gateway-device/programmer/factory.ts';
import { type Authority, makeDevice, makeIca, makeKey, makeRoot } from '../pki/support.ts';
import { covers } from '../support/covers.ts';
import { countingRandom, linkTo, realResponder, someNonce } from './fixtures.ts';

/** Chains whose authorities are on another curve than the leaf: what is negotiated is the algorithm of the leaf's key, and the hash of the
 *  connection; certificates say themselves how they are signed (DSP0274 §10.6). */

const { mutualAuthentication, encapsulated } = capability;

describe.each([
  ['P-384', 'P-384'],
  ['P-384', 'P-256'],
  ['P-256', 'P-384'],
] as const)('a P-256 leaf under a %s root and a %s issuing CA (R84)', (rootCurve: Curve, icaCurve: Curve) => {
  let root: Authority;
  let device: CertSlot;
  let programmer: CertSlot;
  beforeAll(async () => {
    root = await makeRoot(rootCurve);
    const ica = await makeIca(root, 'meter', undefined, icaCurve);
    const key = makeKey();
    device = { certificates: [root.der, ica.der, await makeDevice(ica, key)], sign: signerOf(key).sign };
    programmer = await leafSlot(root, await makeIca(root, 'programmer', undefined, icaCurve), 'programmer');
  });
  const judge = (purpose: 'device' | 'programmer') => (certificates: readonly Uint8Array[]) => {
    const { point } = checkChain(certificates.toReversed(), { roots: [root.der], now: undefined, purpose });
    return point ?? new Uint8Array();
  };

  it('is attested, and the evidence is verified again from its stored form', async () => {
    covers('R84');
    const evidence = await runAttestation({ nonce: someNonce }, linkTo(realResponder({ slots: [device] })));
    const stored = encodeEvidence(evidence);
    const verified = await verifyEvidence(decodeEvidence(stored), { nonce: someNonce, trust: judge('device') });
    expect(verified.chainDigest).toHaveLength(32);
    const other = await makeRoot(rootCurve);
    const foreign = (certificates: readonly Uint8Array[]) =>
      checkChain(certificates.toReversed(), { roots: [other.der], now: undefined, purpose: 'device' }).point ?? new Uint8Array();
    await expect(verifyEvidence(evidence, { nonce: someNonce, trust: foreign })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  });

  it('opens a session in which requester and responder judge each other', async () => {
    const flags = mutualAuthentication | encapsulated;
    const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
    const responder = realResponder({
      slots: [device],
      capabilities: { ...sizes, flags: deviceFlags | flags },
      mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: judge('programmer') },
    });
    const { session, mutual } = await runSessionSetup(
      {
        nonce: someNonce,
        trust: judge('device'),
        randomBytes: countingRandom('requester'),
        capabilities: { ...sizes, flags: requesterFlags | flags },
        ownSlots: [programmer],
      },
      linkTo(responder),
    );
    expect(mutual).toBe(true);
    expect(responder.peerCertificates()).toEqual(programmer.certificates);
    expect(responder.exporterSecret()).toEqual(session.exporterSecret());
  });
});
