import { concat } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { type CertSlots, chainDigest } from '../certSlot.ts';
import { responseCode } from '../constants.ts';
import { dataSecrets, verifyData } from '../keySchedule.ts';
import { decodeFinishRsp, encodeFinishHead } from '../messages/finish.ts';
import { hashOf, signingInput } from '../signature.ts';
import { algorithmsOf, checkHead } from './connection.ts';
import { checkProof, type Handshake } from './keyExchange.ts';

/** FINISH as a requester (DSP0274 §10.17), with our signature when the responder asked who we are. */

/** Who we are: the slot that signs, and what the encapsulated requests added to the transcript (DIGESTS on multi-key connections). */
export type OwnIdentity = { readonly slots: CertSlots; readonly slot: number; readonly digests?: Uint8Array };

/** FINISH sent. */
export type OpenFinish = {
  readonly message: Uint8Array;
  /** TH up to and with FINISH. */
  readonly transcript: Uint8Array;
};

/** @throws SPDM_UNSUPPORTED when we have no such slot */
export async function openFinish({ connection, secrets, transcript }: Handshake, own?: OwnIdentity): Promise<OpenFinish> {
  const { version } = connection;
  const { hash, requesterMultiKey } = algorithmsOf(connection);
  const context = { version, hash };
  const cert = own?.slots[own.slot];
  if (own && !cert) throw new NusecError('SPDM_UNSUPPORTED', `responder asks for our slot ${own.slot}`);
  const digests = requesterMultiKey && own?.digests ? own.digests : new Uint8Array();
  const before = cert ? concat(transcript, digests, chainDigest(context, cert)) : transcript;
  const head = encodeFinishHead(version, cert !== undefined, cert ? own!.slot : 0);
  const signature = cert
    ? await cert.sign(signingInput(version, hash, 'requester-finish signing', concat(before, head)), hash.name)
    : new Uint8Array();
  const toProve = concat(before, head, signature);
  const proof = verifyData(context, secrets.request, hashOf(hash, toProve));
  return { message: concat(head, signature, proof), transcript: concat(toProve, proof) };
}

/** The session then has its data keys. @throws SPDM_UNEXPECTED, SPDM_MALFORMED, SPDM_SIGNATURE */
export function acceptFinish({ connection, secrets, keys, inTheClear }: Handshake, { transcript }: OpenFinish, response: Uint8Array): void {
  const { hash } = algorithmsOf(connection);
  const context = { version: connection.version, hash };
  checkHead(connection, response, responseCode.finishRsp);
  const proof = decodeFinishRsp(response, inTheClear ? hash.hashBytes : 0);
  const bare = response.subarray(0, response.length - proof.length);
  if (inTheClear) checkProof(verifyData(context, secrets.response, hashOf(hash, concat(transcript, bare))), proof, 'FINISH_RSP');
  const data = dataSecrets(context, secrets.handshake, hashOf(hash, concat(transcript, response)));
  keys.useKeys(data, data.exportMaster);
}
