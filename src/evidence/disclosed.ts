import { z } from 'zod';
import { fromHex } from '../bytes.ts';
import { subjectKinds } from '../domain/subjects.ts';
import { NusecError } from '../errors.ts';
import { base64Bytes } from './base64.ts';
import { idIn, isSealed, openText, placeOf, subjectId } from './personalSeal.ts';

/** People in the events of an evidence file. The events have pseudonyms and sealed texts; beside them is what shows whom and what they stand for, as
 *  long as nobody was erased: the salt of each name, and the key of each single text. Neither opens anything else. */

const maxSubjects = 10_000;
const id = z.string().regex(/^[0-9a-f]{48}$/);
const known = z.strictObject({ kind: z.enum(subjectKinds), name: z.string().max(256), salt: z.string().regex(/^[0-9a-f]{32}$/) });

export const disclosedSchema = z.strictObject({
  /** By the id in a pseudonym. */
  people: z.record(id, z.union([z.literal('erased'), known])).refine(each => Object.keys(each).length <= maxSubjects),
  /** By event id, "/" and field: the key of the text there, base64. */
  textKeys: z.record(z.string().max(256), base64Bytes),
});
export type Disclosed = z.infer<typeof disclosedSchema>;

export type DisclosedEvent = { readonly id: string; readonly by: string; readonly data: unknown };
export type Readable = { readonly by: string; readonly texts?: Readonly<Record<string, string>> };

/** Checks what is disclosed, and reads events with it.
 *  @throws NusecError EVIDENCE_REFUSED from here or from the reader: a name or a text is not what the log has */
export function readerOf({ people, textKeys }: Disclosed = { people: {}, textKeys: {} }): (event: DisclosedEvent) => Readable {
  for (const [of, person] of Object.entries(people))
    if (person !== 'erased' && subjectId(fromHex(person.salt), person.kind, person.name) !== of)
      throw new NusecError('EVIDENCE_REFUSED', `the log does not speak of ${person.name} as ~${of}`);
  const nameOf = (text: string): string =>
    text.replace(/~([0-9a-f]{48})(?![0-9a-f:])/g, (pseudonym, of: string) => {
      const person = people[of];
      return person === undefined ? pseudonym : person === 'erased' ? 'erased' : person.name;
    });
  return event => {
    const texts: Record<string, string> = {};
    for (const [field, sealed] of sealedIn(event.data)) texts[field] = readText(event.id, field, sealed);
    return { by: nameOf(event.by), ...(Object.keys(texts).length > 0 && { texts }) };
  };

  function readText(eventId: string, field: string, sealed: string): string {
    const place = placeOf(eventId, field);
    const key = textKeys[place];
    if (key === undefined) return people[idIn(sealed)] === 'erased' ? 'erased' : sealed;
    const text = openText(new Uint8Array(Buffer.from(key, 'base64')), place, sealed);
    if (text === undefined) throw new NusecError('EVIDENCE_REFUSED', `the text at ${place} does not open with the key in the file`);
    return nameOf(text);
  }
}

/** Every sealed text in the data of an event, with the name of its field. */
export function* sealedIn(value: unknown, field = ''): Generator<readonly [field: string, sealed: string]> {
  if (typeof value === 'string' && isSealed(value)) yield [field, value];
  if (typeof value !== 'object' || value === null) return;
  for (const [name, each] of Object.entries(value)) yield* sealedIn(each, field === '' ? name : `${field}.${name}`);
}

/** Ids of everybody whom a text of an event names. */
export const idsIn = (text: string): ReadonlySet<string> => new Set(text.match(/(?<=~)[0-9a-f]{48}(?![0-9a-f])/g) ?? []);
