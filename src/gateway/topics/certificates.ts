import { decodeAs, encodeAs } from '../../cbor/schema.ts';
import { sha256Hex } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { certificateMessage, csrMessage } from '../../mqttMessages.ts';
import type { CertifiedDevice } from '../../services/identity/operational.ts';
import { createKeyedBuckets } from '../broker/bucket.ts';
import type { Handler } from '../broker/handler.ts';
import { createReplyCache } from '../broker/replies.ts';
import { decided } from './decided.ts';

/** up/csr: a device asks for its operational certificate (LDevID). Answered on dn/crt with the same cid before the PUBACK; a refusal is sent on
 *  dn/err. Who it is for comes from the certificate of the connection (RULE-9): no gateway asks for a device. */

/** Requests of one device that are judged, beside repeats. */
export const csrLimits = { perMinute: 1, burst: 6, maxDevices: 200_000 } as const;

export type CertificateParts = {
  /** @returns certificate and issuer, DER */
  readonly certify: (device: CertifiedDevice, csr: Uint8Array) => Promise<{ readonly certificate: Uint8Array; readonly ica: Uint8Array }>;
  /** Unix time in ms. */
  readonly now: () => number;
  /** The other server processes: a device has one share at all of them. */
  readonly peers: { notify(topic: string, text: string): void; onNotice(topic: string, listener: (text: string) => void): void };
};

/** Of notices between processes. */
const requestTopic = 'certificate request';

export function certificateHandler({ certify, now, peers }: CertificateParts): Handler {
  const replies = createReplyCache();
  const requests = createKeyedBuckets(csrLimits.perMinute, csrLimits.burst, csrLimits.maxDevices);
  peers.onNotice(requestTopic, uid => void requests.tryTake(uid, now()));
  const take = (uid: string): boolean => {
    peers.notify(requestTopic, uid);
    return requests.tryTake(uid, now());
  };
  return decided(async ({ uid, identity, payload, reply }) => {
    if (identity.kind !== 'device') throw new NusecError('FORBIDDEN', 'a device asks for its certificate on its own connection');
    const { cid, csr } = decodeAs(csrMessage, payload);
    const question = sha256Hex(csr);
    const known = replies.get(uid, question, cid);
    if (known === undefined && !take(uid)) throw new NusecError('RATE_LIMITED', 'too many certificate requests');
    const answer =
      known ?? encodeAs(certificateMessage, { cid, chain: await chainFor({ uid, certificateSha256: identity.certificateSha256 }, csr) });
    replies.put(uid, question, cid, answer);
    await reply('crt', answer);
  });

  async function chainFor(device: CertifiedDevice, csr: Uint8Array): Promise<readonly Uint8Array[]> {
    const { certificate, ica } = await certify(device, csr);
    return [certificate, ica];
  }
}
