import { type CipherGCMTypes, createDecipheriv } from 'node:crypto';
import { utf8 } from '../../src/bytes.ts';
import { pskHandshakeSecrets, type Secrets, trafficKey, updatedSecret } from '../../src/spdm/keySchedule.ts';
import { aeads, type HashAlgorithm, hashAlgorithms, rowOf } from '../../src/spdm/suite.ts';
import { type Exchange, named, type Recording, secretsOf } from './recording.ts';

/** Opens the secured records of a recording with nothing but the recorded secrets and AES-GCM, padding included, through changes of keys. */

export type OpenedExchange = Exchange & {
  /** Number of the session it belongs to: 0, 1 …; −1 before the first. */
  readonly session: number;
  /** Without the inner transport head: an SPDM message, or application data. */
  readonly plain: readonly [Uint8Array, Uint8Array];
  /** MCTP padding of request and response; empty elsewhere. */
  readonly padding: readonly [Uint8Array, Uint8Array];
  readonly isApplication: boolean;
};

type Key = { secret: Uint8Array; sequence: number };
/** With the zero byte that ends it: the other implementation counts it. */
export const recordedPsk = utf8('TestPskData\0');
const tagBytes = 16;

export const recordedVersion = (recording: Recording): number => named(recording, 'GET_CAPABILITIES')[0]!.request.message[0]!;
export const recordedHash = (recording: Recording): HashAlgorithm =>
  rowOf(hashAlgorithms, named(recording, 'ALGORITHMS')[0]?.response.message[12] ?? (isP384(recording) ? 2 : 1))!;
export const isP384 = (recording: Recording): boolean => named(recording, 'NEGOTIATE_ALGORITHMS')[0]!.request.message[8] === 0x80;

export function openRecords(recording: Recording): readonly OpenedExchange[] {
  const context = { version: recordedVersion(recording), hash: recordedHash(recording) };
  const binding = recording.transport === 'TCP' ? 'tcp' : 'mctp';
  let session = -1;
  let keys: [Key, Key] | undefined;
  let finished = false;
  const handshake = (): Secrets => {
    if (named(recording, 'PSK_EXCHANGE').length > 0)
      return pskHandshakeSecrets(context, recordedPsk, secretsOf(recording, 'th1 hash')[session]!);
    return pair(recording, 'handshake_secret', session);
  };
  const use = ({ request, response }: Secrets): void => {
    keys = [
      { secret: request, sequence: 0 },
      { secret: response, sequence: 0 },
    ];
  };
  return recording.exchanges.map((exchange): OpenedExchange => {
    const { name, request, response } = exchange;
    if (name === 'KEY_EXCHANGE' || name === 'PSK_EXCHANGE') {
      session += 1;
      finished = false;
      use(handshake());
    }
    if (name === 'FINISH') {
      finished = true;
      use(pair(recording, 'data_secret', session));
    }
    if (name !== 'secured') {
      const none = new Uint8Array();
      return { ...exchange, session, plain: [request.message, response.message], padding: [none, none], isApplication: false };
    }
    const open = (key: Key, record: Uint8Array) => openWith(context, key, binding, record);
    const asked = open(keys![0], request.message);
    const isUpdate = asked.isSpdm && asked.data[1] === 0xe9;
    if (isUpdate && asked.data[2] !== 3) keys![0] = renewed(context, keys![0]);
    if (isUpdate && asked.data[2] === 2) keys![1] = renewed(context, keys![1]);
    const answer = open(keys![1], response.message);
    const opened: OpenedExchange = {
      ...exchange,
      session,
      plain: [asked.data, answer.data],
      padding: [asked.padding, answer.padding],
      isApplication: !asked.isSpdm,
    };
    if (!finished && (asked.data[1] === 0xe5 || asked.data[1] === 0xe7)) {
      finished = true;
      use(named(recording, 'PSK_EXCHANGE').length > 0 ? pskData(recording) : pair(recording, 'data_secret', session));
    }
    return opened;
  });
}

/** The PSK recording has keys only: they are used as they are, marked by a length no secret has. */
function pskData(recording: Recording): Secrets {
  const keys = secretsOf(recording, 'key').slice(2, 4);
  const ivs = secretsOf(recording, 'iv').slice(2, 4);
  const joined = (i: number): Uint8Array => Uint8Array.from([...keys[i]!, ...ivs[i]!]);
  return { request: joined(0), response: joined(1) };
}

function pair(recording: Recording, label: 'handshake_secret' | 'data_secret', session: number): Secrets {
  const secret = (side: string): Uint8Array => secretsOf(recording, `${side}_${label}`)[session]!;
  return { request: secret('request'), response: secret('response') };
}

type Context = Parameters<typeof updatedSecret>[0];
const renewed = (context: Context, { secret }: Key): Key => ({ secret: updatedSecret(context, secret), sequence: 0 });

function openWith(context: Context, key: Key, binding: 'tcp' | 'mctp', record: Uint8Array) {
  const isKey = key.secret.length === 44;
  const traffic = isKey ? { key: key.secret.slice(0, 32), iv: key.secret.slice(32) } : trafficKey(context, aeads[0]!, key.secret);
  const headBytes = binding === 'mctp' ? 8 : 6;
  const nonce = traffic.iv.slice();
  nonce[0]! ^= key.sequence;
  key.sequence += 1;
  const decipher = createDecipheriv('aes-256-gcm' as CipherGCMTypes, traffic.key, nonce);
  decipher.setAAD(record.subarray(0, headBytes));
  decipher.setAuthTag(record.subarray(record.length - tagBytes));
  const plain = Uint8Array.from([...decipher.update(record.subarray(headBytes, record.length - tagBytes)), ...decipher.final()]);
  const length = plain[0]! | (plain[1]! << 8);
  const inner = plain.slice(2, 2 + length);
  const isSpdm = binding === 'tcp' || inner[0] === 5;
  const data = binding === 'tcp' ? inner.slice(4) : isSpdm ? inner.slice(1) : inner;
  return { data, padding: plain.slice(2 + length), isSpdm };
}
