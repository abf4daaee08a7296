import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { utf8 } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { readCheckpoint } from '../../merkle/checkpoint.ts';
import { cosignedAt, readWitnessKey } from '../../merkle/cosignature.ts';
import { formatNote, type NoteKey, parseNote, verifiedBy } from '../../merkle/note.ts';
import { addCheckpointRequest, readAnswer, type WitnessAnswer } from '../../merkle/witnessMessages.ts';
import type { Context } from '../base/context.ts';
import { type Endpoint, requireSecureUrl } from './witnessHttp.ts';

/** One exchange with a witness: it gets a checkpoint, and gives its cosignature (C2SP tlog-witness); or it only keeps the checkpoint. */

export type WitnessSettings = {
  /** Prefix of its addresses; without a key the address itself. */
  readonly url: string;
  /** As the witness publishes it: name+id+key. Without it the checkpoint is put there, and nothing is expected back. */
  readonly key?: string | undefined;
  readonly caFile?: string | undefined;
};

/** How far its clock may be ahead. */
const maxAheadSeconds = 300n;
/** Sizes it may name one after the other before one is accepted: its own, and one that another process was faster with. */
const maxAttempts = 3;

/** unlike: it has seen another log under this name, which is never an accident */
export type WitnessFailure = { readonly isUnlike: boolean; readonly detail: string };
export type Witness = {
  readonly name: string;
  /** @returns why the checkpoint was not taken; undefined when it was */
  offer(note: string): Promise<WitnessFailure | undefined>;
};

/** Where the newest cosigned checkpoint of each witness is. */
export const cosignedFolder = (dataDir: string): string => join(dataDir, 'witnesses');
export const cosignedFile = (dataDir: string, keyIdHex: string): string => join(cosignedFolder(dataDir), `${keyIdHex}.checkpoint`);

/** @throws NusecError BAD_REQUEST when an address, a key or a file is not right: better at the start than when it is needed */
export function requireWitnessSettings(settings: readonly WitnessSettings[]): void {
  for (const { url, key, caFile } of settings) {
    requireSecureUrl(url);
    if (key !== undefined) readWitnessKey(key);
    if (caFile !== undefined && !existsSync(caFile)) throw new NusecError('BAD_REQUEST', `there is no ${caFile} for the witness ${url}`);
  }
}

export function createWitness(ctx: Context, endpoint: Endpoint, { url, key }: WitnessSettings, dataDir: string): Witness {
  return key === undefined ? keeper(endpoint, url) : cosigner(ctx, endpoint, url, readWitnessKey(key), dataDir);
}

function keeper(endpoint: Endpoint, url: string): Witness {
  return {
    name: new URL(url).host,
    async offer(note) {
      const { status } = await endpoint.send('PUT', url, note);
      return status >= 200 && status < 300 ? undefined : { isUnlike: false, detail: `${url} answers ${status}` };
    },
  };
}

function cosigner(ctx: Context, endpoint: Endpoint, url: string, key: NoteKey, dataDir: string): Witness {
  const file = cosignedFile(dataDir, key.keyIdHex);
  const address = `${url.replace(/\/$/, '')}/add-checkpoint`;
  const ask = async (oldSize: number, size: number, note: string): Promise<WitnessAnswer> => {
    const proof = await ctx.store.tree.consistency(oldSize, size);
    const { status, contentType, body } = await endpoint.send('POST', address, addCheckpointRequest(oldSize, proof, note));
    return readAnswer(status, contentType, body);
  };
  const keep = async (note: string, cosigned: Extract<WitnessAnswer, { kind: 'cosigned' }>): Promise<WitnessFailure | undefined> => {
    const { text, signatures } = parseNote(note);
    const latest = BigInt(Math.floor(ctx.clock().getTime() / 1000)) + maxAheadSeconds;
    const [valid] = signaturesOf({ text, signatures: cosigned.signatures }, key);
    if (valid === undefined || (cosignedAt(valid.signature) ?? latest + 1n) > latest)
      return { isUnlike: false, detail: `${key.name} has not answered with its cosignature` };
    mkdirSync(cosignedFolder(dataDir), { recursive: true, mode: 0o700 });
    const own = { name: key.name, keyIdHex: key.keyIdHex, signature: valid.signature };
    await replaceFile(file, utf8(formatNote({ text, signatures: [...signatures, own] })));
    return undefined;
  };
  return {
    name: key.name,
    async offer(note) {
      const { size } = readCheckpoint(parseNote(note).text);
      let oldSize = Math.min(size, cosignedSize(file));
      for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
        const answer = await ask(oldSize, size, note);
        if (answer.kind === 'cosigned') return keep(note, answer);
        if (answer.kind !== 'behind') return { isUnlike: answer.kind === 'unlike', detail: answer.detail };
        const head = await ctx.store.head();
        if (answer.size > head)
          return { isUnlike: true, detail: `${key.name} has cosigned ${answer.size} events, the log has ${head}: it is an old backup` };
        // Another process was faster with a newer one.
        if (answer.size > size) return undefined;
        oldSize = answer.size;
      }
      return { isUnlike: false, detail: `${key.name} keeps naming another size` };
    },
  };
}

/** Those of the witness that are valid; an answer with one that is not counts for nothing. */
function signaturesOf(note: ReturnType<typeof parseNote>, key: NoteKey): ReturnType<typeof verifiedBy> {
  try {
    return verifiedBy(note, [key]);
  } catch (error) {
    if (error instanceof NusecError) return [];
    throw error;
  }
}

/** 0 when there is none: then the witness says which one it has. */
function cosignedSize(file: string): number {
  try {
    return existsSync(file) ? readCheckpoint(parseNote(readFileSync(file, 'utf8')).text).size : 0;
  } catch {
    return 0;
  }
}
