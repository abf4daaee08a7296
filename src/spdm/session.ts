import { concat } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { u16 } from './codec.ts';
import { messageType } from './constants.ts';
import type { RandomSource } from './ecdh.ts';
import { type ExporterSecret, type ScheduleContext, type Secrets, trafficKey, updatedSecret } from './keySchedule.ts';
import { type Binding, openRecord, type RecordKey, sealRecord } from './record.ts';
import type { Aead } from './suite.ts';

/** One end of an SPDM session: two directions of record keys and the exporter secret. Any wrong record ends it (T10). */

export type SessionSettings = ScheduleContext & {
  readonly aead: Aead;
  readonly binding: Binding;
  readonly role: 'requester' | 'responder';
  /** ReqSessionID | RspSessionID << 16 (DSP0277 §6.1). */
  readonly sessionId: number;
  readonly randomBytes: RandomSource;
  /** Records under one key, of each direction (DSP0277 1.3): what both sides agreed on. */
  readonly maxRecords: number;
};

export type SpdmSession = {
  readonly sessionId: number;
  readonly version: number;
  /** @param data an MCTP message with its type byte first, e.g. 7F …; types 05 and 06 are refused  @throws SPDM_RECORD, SPDM_UNEXPECTED */
  seal(data: Uint8Array): Uint8Array;
  /** @returns an MCTP message with its type byte first  @throws SPDM_RECORD (and the session is over), SPDM_UNEXPECTED for an SPDM message */
  open(record: Uint8Array): Uint8Array;
  sealSpdm(message: Uint8Array): Uint8Array;
  /** @throws SPDM_RECORD (and the session is over), SPDM_UNEXPECTED for application data */
  openSpdm(record: Uint8Array): Uint8Array;
  openAny(record: Uint8Array): Inner;
  /** New keys after KEY_UPDATE, sequences from 0: of one direction, or of both. */
  rotate(which: 'request' | 'response' | 'both'): void;
  ended(): boolean;
  end(): void;
  /** @throws SPDM_UNEXPECTED before the handshake is finished or after the end */
  exporterSecret(): ExporterSecret;
};

export type Inner = { readonly kind: 'spdm' | 'application'; readonly data: Uint8Array };

/** What the handshake does with a session besides using it: new keys, sequences from 0. */
export type SessionEnd = SpdmSession & { useKeys(secrets: Secrets, exportMaster?: Uint8Array): void };

const noSecrets: Secrets = { request: new Uint8Array(), response: new Uint8Array() };

export function createSession(settings: SessionSettings, handshake: Secrets): SessionEnd {
  const { binding, sessionId, randomBytes, version, role } = settings;
  let secrets: Secrets = handshake;
  let keys: Directions | undefined = directions(settings, handshake);
  let exporter: ExporterSecret | undefined;
  const end = (): void => {
    keys = undefined;
    exporter = undefined;
    secrets = noSecrets;
  };
  const live = (): Directions => {
    if (!keys) throw new NusecError('SPDM_UNEXPECTED', 'the session is over');
    return keys;
  };
  const sealInner = (inner: Uint8Array): Uint8Array => sealRecord(binding, sessionId, live().send, inner, randomBytes);
  const openAny = (record: Uint8Array): Inner => {
    const { receive } = live();
    try {
      return readInner(binding, openRecord(binding, sessionId, receive, record));
    } catch (error) {
      end();
      throw error;
    }
  };
  return {
    sessionId,
    version,
    seal: data => sealInner(applicationData(binding, data)),
    open: record => only('application', openAny(record)),
    sealSpdm: message => sealInner(concat(innerHead(binding, message.length), message)),
    openSpdm: record => only('spdm', openAny(record)),
    openAny,
    ended: () => keys === undefined,
    end,
    exporterSecret: () => {
      if (!exporter) throw new NusecError('SPDM_UNEXPECTED', `no session secrets on the ${role} side`);
      return exporter;
    },
    rotate: which => {
      const before = live();
      const updated = (direction: 'request' | 'response'): Uint8Array =>
        which === 'both' || which === direction ? updatedSecret(settings, secrets[direction]) : secrets[direction];
      secrets = { request: updated('request'), response: updated('response') };
      const next = directions(settings, secrets);
      const sends = (which === 'request') === (role === 'requester');
      if (which === 'both') keys = next;
      else keys = sends ? { send: next.send, receive: before.receive } : { send: before.send, receive: next.receive };
    },
    useKeys: (next, exportMaster) => {
      secrets = next;
      keys = directions(settings, next);
      if (exportMaster) exporter = { version, hash: settings.hash, secret: exportMaster };
    },
  };
}

type Directions = { readonly send: RecordKey; readonly receive: RecordKey };

function directions(settings: SessionSettings, secrets: Secrets): Directions {
  const key = (secret: Uint8Array): RecordKey => ({
    ...trafficKey(settings, settings.aead, secret),
    aead: settings.aead,
    maxRecords: settings.maxRecords,
    sequence: 0,
  });
  const request = key(secrets.request);
  const response = key(secrets.response);
  return settings.role === 'requester' ? { send: request, receive: response } : { send: response, receive: request };
}

/** The inner transport head of an SPDM message: MCTP type byte, or the TCP head length | 01 | 05 (length = what follows it). */
function innerHead(binding: Binding, messageBytes: number): Uint8Array {
  return binding === 'mctp' ? Uint8Array.of(messageType.spdm) : concat(u16(messageBytes + 2), Uint8Array.of(1, messageType.spdm));
}

const tcpHeadBytes = 4;

function readInner(binding: Binding, inner: Uint8Array): Inner {
  if (binding === 'tcp') {
    if (inner.length < tcpHeadBytes || inner[2] !== 1 || inner[3] !== messageType.spdm)
      throw new NusecError('SPDM_RECORD', 'inner transport head');
    return { kind: 'spdm', data: inner.slice(tcpHeadBytes) };
  }
  if (inner.length === 0) throw new NusecError('SPDM_RECORD', 'empty record');
  if (inner[0] === messageType.secured) throw new NusecError('SPDM_RECORD', 'record in a record');
  return inner[0] === messageType.spdm ? { kind: 'spdm', data: inner.slice(1) } : { kind: 'application', data: inner };
}

/** @throws SPDM_UNEXPECTED: DSP0287 has no type for application data, and types 05 and 06 are not application data */
function applicationData(binding: Binding, data: Uint8Array): Uint8Array {
  const type = data[0];
  if (binding !== 'mctp' || type === undefined || type === messageType.spdm || type === messageType.secured) {
    throw new NusecError('SPDM_UNEXPECTED', 'not application data of an MCTP session');
  }
  return data;
}

function only(kind: Inner['kind'], inner: Inner): Uint8Array {
  if (inner.kind !== kind) throw new NusecError('SPDM_UNEXPECTED', `record carries ${inner.kind} data`);
  return inner.data;
}
