import type { SubjectKind } from '../../domain/subjects.ts';
import type { SubjectKeys } from '../../eventstore/personalEvent.ts';

/** The people that the log speaks of, and their data keys: see dataFolder/subjectKeys.ts. */

/** @property since RFC 3339 UTC: when it was first written of */
export type KnownSubject = { readonly id: string; readonly kind: SubjectKind; readonly name: string; readonly since: string };

export type Subjects = SubjectKeys & {
  /** Oldest first. */
  list(): readonly KnownSubject[];
  /** Deletes the key, the name and the salt, for good. @returns SHA-256 of the key, hex; undefined when there is none */
  destroy(id: string): Promise<string | undefined>;
  /** Forgets the keys that another process has destroyed. */
  refresh(): Promise<void>;
  close(): void;
};
