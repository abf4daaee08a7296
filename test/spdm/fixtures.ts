import { createHash, createPrivateKey, sign as ecdsa, X509Certificate } from 'node:crypto';
import type { Wire } from '../../src/spdm/constants.ts';
import type { MeasurementSource } from '../../src/spdm/measurement.ts';
import { createResponder, type Responder, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import type { CertSlot } from '../../src/spdm/responder/state.ts';
import { bundleCertificates, decodeCertificates, vectorKey } from './recording.ts';

/** A responder with the recorded certificates and real keys, and a deterministic random source. */

export function countingRandom(seed = 'random'): (length: number) => Uint8Array {
  let count = 0;
  return length => {
    count += 1;
    return new Uint8Array(createHash('shake256', { outputLength: length }).update(`${seed} ${count}`).digest());
  };
}

export function realSlot(curve: 'ecp256' | 'ecp384' = 'ecp256'): CertSlot {
  const key = createPrivateKey({ key: Buffer.from(vectorKey(`${curve}/end_responder.key.p8`)), format: 'der', type: 'pkcs8' });
  const hash = curve === 'ecp256' ? 'sha256' : 'sha384';
  return {
    certificates: bundleCertificates(curve, 'certchain'),
    sign: async input => new Uint8Array(ecdsa(hash, input, { key, dsaEncoding: 'ieee-p1363' })),
  };
}

export const someMeasurements: readonly MeasurementSource[] = [
  { index: 1, type: 0, form: 'either', value: new Uint8Array(100).fill(1), tcb: true },
  { index: 2, type: 1, form: 'either', value: new Uint8Array(200).fill(2) },
  { index: 16, type: 7, form: 'raw', value: Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0) },
];

export function realResponder(options: Partial<ResponderOptions> = {}): Responder {
  return createResponder({
    slots: [realSlot()],
    randomBytes: countingRandom('responder'),
    measurements: () => someMeasurements,
    ...options,
  });
}

export const linkTo =
  (responder: Responder) =>
  async (wire: Wire): Promise<Wire> => {
    const answer = await responder.handle(wire);
    if (!answer) throw new Error('no answer');
    return answer;
  };

/** Trusts the leaf of whatever chain. Judging chains is tested with src/pki. */
export const trustLeaf = (certificates: readonly Uint8Array[]) => new X509Certificate(certificates.at(-1)!).publicKey;

export const someNonce = new Uint8Array(32).fill(0xa5);

/** Our own slots as a requester, with the recorded requester certificates and their real key. */
export function requesterSlot(): CertSlot {
  const key = createPrivateKey({ key: Buffer.from(vectorKey('ecp256/end_requester.key.p8')), format: 'der', type: 'pkcs8' });
  return {
    certificates: decodeCertificates(vectorKey('ecp256/bundle_requester.certchain.der')),
    sign: async input => new Uint8Array(ecdsa('sha256', input, { key, dsaEncoding: 'ieee-p1363' })),
  };
}
