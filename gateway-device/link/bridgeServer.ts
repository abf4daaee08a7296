import { fromBase64url, toBase64url } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import type { HttpClient } from './httpClient.ts';
import { spdmIn, type WiredIdentity } from './wiredIdentity.ts';

/** The server as a machine with devices on its wires sees it: what is outstanding for a device, and its result. */

export type WiredStanding = {
  readonly identity: WiredIdentity;
  readonly isOrdered: boolean;
  readonly job?: { readonly signed: Uint8Array; readonly bodySha256: string; readonly trailer: Uint8Array };
};

export type BridgeServer = ReturnType<typeof createBridgeServer>;

type Json = Readonly<Record<string, unknown>>;
type Report = { readonly status: 'downloading' | 'written' | 'testing' } | { readonly status: 'refused'; readonly code: string };

/** @param kind whose certificate the client shows */
export function createBridgeServer(http: HttpClient, kind: 'programmer' | 'gateway') {
  const path = (uid: string, rest = ''): string => `/v1/${kind}-bridge/${uid}${rest}`;
  const ofJob = (uid: string, otaJobId: string, step: string): string => path(uid, `/jobs/${otaJobId}/${step}`);
  const post = (where: string, body: Json): Promise<Json> => http.json<Json>('POST', where, body);
  return {
    async look(uid: string): Promise<WiredStanding> {
      const answer = await post(path(uid), {});
      const identity = (answer.identity ?? {}) as Json;
      const job = answer.job as Json | undefined;
      return {
        identity: { certificate: bytesIn(identity, 'certificate'), root: bytesIn(identity, 'root'), ...spdmIn(identity, bytesIn) },
        isOrdered: answer.isOrdered === true,
        ...(job && { job: { signed: bytesIn(job, 'signed'), bodySha256: textIn(job, 'bodySha256'), trailer: bytesIn(job, 'trailer') } }),
      };
    },
    body: (uid: string, otaJobId: string) => http.bytes('GET', ofJob(uid, otaJobId, 'body')),
    report: (uid: string, otaJobId: string, report: Report) => post(ofJob(uid, otaJobId, 'status'), report),
    prove: async (uid: string, otaJobId: string, evidence: Uint8Array) =>
      textIn(await post(ofJob(uid, otaJobId, 'evidence'), { evidence: toBase64url(evidence) }), 'result'),
    order: async (uid: string, nonce: Uint8Array) => bytesIn(await post(path(uid, '/order'), { nonce: toBase64url(nonce) }), 'order'),
    receipt: (uid: string, order: Uint8Array, receipt: Uint8Array) =>
      post(path(uid, '/receipt'), { order: toBase64url(order), receipt: toBase64url(receipt) }),
  };
}

function textIn(answer: Json, name: string): string {
  const value = answer[name];
  if (typeof value !== 'string') throw new NusecError('SERVER_UNREACHABLE', `the server’s answer has no readable ${name}`);
  return value;
}

function bytesIn(answer: Json, name: string): Uint8Array {
  try {
    return fromBase64url(textIn(answer, name));
  } catch (cause) {
    throw new NusecError('SERVER_UNREACHABLE', `the server’s answer has no readable ${name}`, { cause });
  }
}
