import { type ErrorCode, NusecError } from '../../errors.ts';
import { areWithin } from '../../times.ts';

/** What becomes of a message that is refused (docs/mqtt.md). A message that can never be accepted is acknowledged: a standard client sends what is
 *  not acknowledged again on every connection, for ever. */

/** The message may be accepted later, and nothing is wrong with it: it stays unacknowledged, and the client sends it again. */
const serverTroubles: ReadonlySet<ErrorCode> = new Set([
  'INTERNAL',
  'REVISION_CONFLICT',
  'STORE_CLOSED',
  'STORE_DAMAGED',
  'STORE_OLDER',
  'STORE_UNAVAILABLE',
  'STORE_FULL',
  'STORE_READ_ONLY',
  'LEADERSHIP_OVER',
  'PROJECTION_BEHIND',
  'BLOB_DAMAGED',
  'BLOB_NOT_FOUND',
  'KEYSTORE_MISSING',
  'KEYSTORE_LOCKED',
  'KEYSTORE_DAMAGED',
  'KEYSTORE_PERMISSIONS',
  'KEYSTORE_UNAVAILABLE',
  'KEYSTORE_WRONG_PASSPHRASE',
]);

/** Who says this does not stay: it speaks where it has no right to, or is not in use. */
const endings: ReadonlySet<ErrorCode> = new Set(['TOPIC_FORBIDDEN', 'FORBIDDEN', 'DEVICE_STATE', 'NOT_FOUND']);

/** `retry`: no PUBACK, and the connection ends, because only a new connection makes a client send again. `drop`: PUBACK, the connection stays.
 *  `end`: PUBACK, and the connection ends. */
export type RefusedMessage = 'retry' | 'drop' | 'end';

/** @param isGateway one faulty device behind a gateway must not end the connection for the others */
export function judgeRefusal(error: unknown, isGateway: boolean): RefusedMessage {
  if (isServerTrouble(error)) return 'retry';
  const { code } = error as NusecError;
  if (isGateway) return 'drop';
  if (code === 'RATE_LIMITED') return 'retry';
  return endings.has(code) ? 'end' : 'drop';
}

/** Whether the server, and not the message, is to blame. */
export const isServerTrouble = (error: unknown): boolean => !(error instanceof NusecError) || serverTroubles.has(error.code);

const windowMs = 60_000;
const maxCauses = 64;

/** Answers of one connection: one for each cause and minute. A request is a cause of its own, by its cid, so each gets its answer; the same message
 *  sent again and again does not. */
export function createAnswered() {
  // Most connections refuse nothing, and need none.
  let last: Map<string, number> | undefined;
  return {
    /** Whether to answer now. @param cause family, code and cid @param now Unix ms */
    isDue(cause: string, now: number): boolean {
      last ??= new Map();
      const before = last.get(cause);
      if (before !== undefined && areWithin(windowMs, now, before)) return false;
      last.delete(cause);
      last.set(cause, now);
      if (last.size > maxCauses) last.delete(last.keys().next().value as string);
      return true;
    },
  };
}
