import { NusecError } from '../errors.ts';
import { type Hash, hashBytes, nodeHash } from './hashing.ts';

/** Checkpoints (C2SP tlog-checkpoint): the text of the note that a log signs.
 *
 *  | line | content |
 *  |---|---|
 *  | 1 | origin: which log |
 *  | 2 | tree size, decimal |
 *  | 3 | root hash, base64 |
 *  | 4 … | extensions: `time` when it was signed (RFC 3339, UTC, milliseconds), `heads` root of the map of stream heads, base64, `revocations` how many events changed what is revoked, space, their hash, base64 |  */

/** All events that changed what is revoked, in the order of the log.
 *  @property hash of the last one and the hash before it, as of an inner node of a tree; 32 zero bytes for none */
export type RevocationMark = { readonly count: number; readonly hash: Hash };
export const noRevocations: RevocationMark = { count: 0, hash: '0'.repeat(2 * hashBytes) };

/** @param event hash of an event that changes what is revoked */
export const withRevocation = ({ count, hash }: RevocationMark, event: Hash): RevocationMark => ({
  count: count + 1,
  hash: nodeHash(hash, event),
});

export type Checkpoint = {
  readonly origin: string;
  readonly size: number;
  readonly root: Hash;
  readonly time?: string;
  /** Root of the map from each stream to its newest event within this size (see headMap.ts); absent when it was not at hand. */
  readonly heads?: Hash;
  /** Absent when it was not at hand. */
  readonly revocations?: RevocationMark;
};

export function checkpointText({ origin, size, root, time, heads, revocations }: Checkpoint): string {
  const extensions = [
    ...(time === undefined ? [] : [`time ${time}`]),
    ...(heads === undefined ? [] : [`heads ${toBase64(heads)}`]),
    ...(revocations === undefined ? [] : [`revocations ${revocations.count} ${toBase64(revocations.hash)}`]),
  ];
  return `${[origin, size, toBase64(root), ...extensions].join('\n')}\n`;
}

/** Reads the text of a note. Extensions that are not known are passed over. @throws NusecError CHECKPOINT_MALFORMED */
export function readCheckpoint(text: string): Checkpoint {
  const [origin = '', sizeText = '', rootText = '', ...rest] = text.split('\n');
  const extensions = rest.slice(0, -1);
  const size = Number(sizeText);
  const isWhole = rest.at(-1) === '' && extensions.every(line => line !== '') && origin !== '';
  if (!isWhole || !/^(0|[1-9][0-9]{0,15})$/.test(sizeText) || !Number.isSafeInteger(size)) throw malformed();
  const time = extensionOf(extensions, 'time');
  const heads = extensionOf(extensions, 'heads');
  const revocations = extensionOf(extensions, 'revocations');
  return {
    origin,
    size,
    root: fromBase64(rootText),
    ...(time !== undefined && { time }),
    ...(heads !== undefined && { heads: fromBase64(heads) }),
    ...(revocations !== undefined && { revocations: readRevocations(revocations) }),
  };
}

function readRevocations(text: string): RevocationMark {
  const [, count, hash] = /^(0|[1-9][0-9]{0,14}) (\S+)$/.exec(text) ?? [];
  if (count === undefined || hash === undefined) throw malformed();
  return { count: Number(count), hash: fromBase64(hash) };
}

const extensionOf = (lines: readonly string[], name: string): string | undefined =>
  lines.find(line => line.startsWith(`${name} `))?.slice(name.length + 1);

const toBase64 = (hash: Hash): string => Buffer.from(hash, 'hex').toString('base64');

/** @throws NusecError CHECKPOINT_MALFORMED unless it is the only spelling of 32 bytes */
function fromBase64(text: string): Hash {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== hashBytes || bytes.toString('base64') !== text) throw malformed();
  return bytes.toString('hex');
}

const malformed = (): NusecError => new NusecError('CHECKPOINT_MALFORMED', 'not a checkpoint: origin, size, root hash');
