import type { Lease, ServerSigns } from '../port.ts';
import type { Blob } from '../storage.ts';
import type { Carrier } from './carrier.ts';

/** A log of commits that several machines share, as the copies of it see it; the driver is streams.ts. */

/** A commit as the log has it. @property revision 0, 1, 2 … in the log, without gaps @property id UUID */
export type LoggedCommit = { readonly revision: number; readonly id: string; readonly commit: Carrier };

export type CommitLog = {
  /** Revision of the newest commit; -1 when there is none. @throws NusecError STORE_UNAVAILABLE */
  head(): Promise<number>;
  /** Adds a commit behind the one of revision `expected`. A connection that breaks is no answer: the commit is sent again under its id, or looked
   *  for, so it is stored once.
   *  @param id UUID, new for each commit
   *  @returns whether it was stored; false when there is another commit behind `expected`, and then this one never will be
   *  @throws NusecError STORE_UNAVAILABLE when the log cannot be reached for 5 s: then it is unknown whether it is stored */
  append(expected: number, id: string, commit: Carrier): Promise<boolean>;
  /** The commit of a revision. @throws NusecError STORE_UNAVAILABLE, STORE_DAMAGED */
  at(revision: number): Promise<LoggedCommit | undefined>;
  /** Hands over at most `limit` commits from a revision on, some at a time, while the next ones are on their way.
   *  @throws NusecError STORE_UNAVAILABLE when nothing comes for a while, STORE_DAMAGED; what `take` throws */
  scan(from: number, limit: number, take: (commits: readonly LoggedCommit[]) => Promise<void>): Promise<void>;
  /** Hands over commits as they come, in order, past and future, without those that are known by then.
   *  @param known revision of the newest commit that need not come
   *  @param onEnd called once when it ends by itself: the connection broke, or `take` threw; never after close() */
  follow(
    known: () => number,
    take: (commits: readonly LoggedCommit[]) => Promise<void>,
    onEnd: (error: unknown) => void,
  ): { close(): void };
  putBlob(blob: Blob): Promise<void>;
  blob(sha256: string): Promise<Uint8Array | undefined>;
  dropBlob(sha256: string): Promise<void>;
  readonly lease: Lease;
  readonly servers: ServerSigns;
  /** Writes something of no account. @throws NusecError STORE_UNAVAILABLE when nothing can be written */
  tryToWrite(): Promise<void>;
  /** Tries nothing again from here on: the process ends. */
  stopTrying(): void;
  close(): Promise<void>;
};
