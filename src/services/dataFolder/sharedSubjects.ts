import { fromBase64url, toBase64url, toHex, utf8 } from '../../bytes.ts';
import type { SubjectKind } from '../../domain/subjects.ts';
import { NusecError } from '../../errors.ts';
import { allKeys, type ObjectStore } from '../../objects/port.ts';
import type { Subjects } from '../base/subjectRegistry.ts';
import type { LocalSubjects, SubjectRow } from './subjectKeys.ts';

/** The keys of the people in the log for servers on several machines: one object for each, under the tag of its name, so that two machines make one key for
 *  one person. The rows here are copies; who is erased has no object, and so no copy for long. */

const prefix = 'subjects/';
const objectOf = (tag: Uint8Array): string => prefix + toHex(tag);

type Json = { readonly id: string; readonly kind: SubjectKind; readonly tag: string; readonly sealed: string; readonly since: string };

const encode = ({ tag, sealed, ...row }: SubjectRow): Uint8Array =>
  utf8(JSON.stringify({ ...row, tag: toBase64url(tag), sealed: toBase64url(sealed) } satisfies Json));

/** @throws NusecError KEYSTORE_DAMAGED */
function decode(object: string, bytes: Uint8Array): SubjectRow {
  try {
    const { id, kind, tag, sealed, since } = JSON.parse(new TextDecoder().decode(bytes)) as Json;
    const row = { id, kind, tag: fromBase64url(tag), sealed: fromBase64url(sealed), since };
    if (objectOf(row.tag) !== object || [id, kind, since].some(field => typeof field !== 'string'))
      throw new Error('it is of another person');
    return row;
  } catch (cause) {
    throw new NusecError('KEYSTORE_DAMAGED', `object ${object} of the object store was changed: it has the key of a person`, { cause });
  }
}

/** Stores a row of this machine, unless there is one for the same name. @returns the one that counts */
export async function shareSubject(objects: ObjectStore, row: SubjectRow): Promise<SubjectRow> {
  for (;;) {
    if ((await objects.put(objectOf(row.tag), encode(row), 'none')) !== undefined) return row;
    const theirs = await objects.get(objectOf(row.tag));
    // It may have been erased just now.
    if (theirs !== undefined) return decode(objectOf(row.tag), theirs.bytes);
  }
}

/** Knows when it returns what all machines know, and no key that one of them has destroyed. @throws NusecError STORE_UNAVAILABLE, KEYSTORE_DAMAGED */
export async function sharedSubjects(local: LocalSubjects, objects: ObjectStore): Promise<Subjects> {
  /** An id is used after its row was stored: who has been looked for and was not there is erased. */
  const absent = new Set<string>();
  const synchronise = async (): Promise<void> => {
    const rows = local.rows();
    const here = new Map(rows.map(row => [objectOf(row.tag), row]));
    const there = new Set<string>();
    for await (const key of allKeys(objects, prefix)) {
      there.add(key);
      const stored = here.has(key) ? undefined : await objects.get(key);
      if (stored !== undefined) local.adopt(decode(key, stored.bytes));
    }
    for (const [key, { id }] of here) if (!there.has(key)) await local.destroy(id);
    await local.refresh();
  };
  await synchronise();
  const learn = async (ids: readonly string[]): Promise<void> => {
    if (ids.every(id => absent.has(id))) return;
    await synchronise();
    for (const id of ids) if (local.byId(id) === undefined) absent.add(id);
  };
  return {
    ...local,
    of(kind, name) {
      const found = local.find(kind, name);
      if (found === undefined) throw new NusecError('STORE_UNAVAILABLE', 'a person is not known to all machines yet');
      return found;
    },
    elsewhere: {
      async make(kind, name) {
        if (local.find(kind, name) === undefined) local.adopt(await shareSubject(objects, local.draft(kind, name)));
      },
      learn,
    },
    async destroy(id) {
      if (local.byId(id) === undefined) await learn([id]);
      const row = local.rows().find(each => each.id === id);
      if (row !== undefined) await objects.delete(objectOf(row.tag));
      return local.destroy(id);
    },
    refresh: synchronise,
  };
}
