import { type PersonalField, personalAlarms, personalFields, personalStreams } from '../domain/personalFields.ts';
import type { SubjectKind } from '../domain/subjects.ts';
import { fieldKey, idIn, isPseudonym, isSealed, openText, placeOf, pseudonymOf, type Subject, sealText } from '../evidence/personalSeal.ts';
import type { EventToAppend, Json, JsonObject, RecordedEvent } from './port.ts';

/** Turns an event of people into what the log keeps of it, and back. */

/** Keys of subjects, kept outside of the log. All of it is synchronous: the keys are in memory. */
export type SubjectKeys = {
  /** The subject of this name. One that is new is durable when this returns. */
  of(kind: SubjectKind, name: string): Subject;
  /** The same, if there is one. */
  find(kind: SubjectKind, name: string): Subject | undefined;
  /** undefined: erased, or not known here yet. */
  byId(id: string): Subject | undefined;
  /** Where servers on several machines share the keys. */
  readonly elsewhere?: SubjectsElsewhere | undefined;
};

export type SubjectsElsewhere = {
  /** Has the subject of this name known here: the one that another machine has made, or a new one, which then is known to all. */
  make(kind: SubjectKind, name: string): Promise<void>;
  /** Has these known here, unless they are erased. */
  learn(ids: readonly string[]): Promise<void>;
};

const nobody: Subject = { id: '', kind: 'operator', name: '', salt: new Uint8Array(), key: new Uint8Array(32) };

/** Does some sealing or opening, with the keys that it needs: those that are not known here are asked for first, and then it is done again. */
export async function withKeys<Result>(keys: SubjectKeys, work: (keys: SubjectKeys) => Result): Promise<Result> {
  const { elsewhere } = keys;
  if (elsewhere === undefined) return work(keys);
  const unnamed: (readonly [SubjectKind, string])[] = [];
  const unknown = new Set<string>();
  const result = work({
    find: keys.find,
    of(kind, name) {
      const found = keys.find(kind, name);
      if (found === undefined) unnamed.push([kind, name]);
      return found ?? nobody;
    },
    byId(id) {
      const found = keys.byId(id);
      if (found === undefined) unknown.add(id);
      return found;
    },
  });
  if (unnamed.length === 0 && unknown.size === 0) return result;
  for (const [kind, name] of unnamed) await elsewhere.make(kind, name);
  if (unknown.size > 0) await elsewhere.learn([...unknown]);
  return work(keys);
}

const operatorPrefix = 'operator:';
const operatorForm = /^operator:[a-z][a-z0-9._-]{0,63}$/;
const mentionedOperators = /operator:[a-z](?:[a-z0-9._-]{0,62}[a-z0-9_-])?/g;
const storedOperators = /operator:~[0-9a-f]{48}/g;

/** What is shown in the place of a text that was erased. */
const erasedText = 'erased';
/** What is shown in the place of a name: not the same for two people, so that four eyes stay four. */
const erasedName = (id: string): string => `${erasedText}-${id.slice(0, 12)}`;

type Fields = readonly (readonly [path: readonly string[], field: string, kind: PersonalField])[];
const fieldsByType: ReadonlyMap<string, Fields> = new Map(
  Object.entries(personalFields).map(([type, fields]) => [
    type,
    Object.entries(fields as { readonly [field: string]: PersonalField }).map(([field, kind]) => [field.split('.'), field, kind] as const),
  ]),
);

/** As the log keeps it. */
export function sealEvent(keys: SubjectKeys, event: EventToAppend): EventToAppend {
  const author = operatorForm.test(event.by) ? keys.of('operator', event.by.slice(operatorPrefix.length)) : undefined;
  const nameOf = (kind: SubjectKind) => (name: string) => pseudonymOf(keys.of(kind, name).id);
  const mentions = (text: string): string =>
    text.replace(mentionedOperators, mention => {
      const known = keys.find('operator', mention.slice(operatorPrefix.length));
      return known === undefined ? mention : operatorPrefix + pseudonymOf(known.id);
    });
  const inText = (text: string): string => {
    if (!text.includes(operatorPrefix)) return text;
    return operatorForm.test(text) ? operatorPrefix + nameOf('operator')(text.slice(operatorPrefix.length)) : mentions(text);
  };
  let data = mapText(event.data, inText) as JsonObject;
  for (const [path, field, kind] of fieldsByType.get(event.type) ?? []) {
    if (kind !== 'text') data = mapAt(data, path, nameOf(kind)) as JsonObject;
    else if (author !== undefined) data = mapAt(data, path, text => sealText(author, placeOf(event.id, field), text)) as JsonObject;
  }
  if (event.type.startsWith('Alarm')) data = sealAlarm(keys, event.id, data);
  const by = author === undefined ? event.by : operatorPrefix + pseudonymOf(author.id);
  return { ...event, by, data };
}

function sealAlarm(keys: SubjectKeys, eventId: string, data: JsonObject): JsonObject {
  const { subject, detail } = data;
  const found = typeof subject === 'string' ? namedIn(personalAlarms, subject) : undefined;
  if (found === undefined) return data;
  const person = keys.of(found.kind, found.name);
  const named = { ...data, subject: found.beginning + pseudonymOf(person.id) };
  return typeof detail === 'string' ? { ...named, detail: sealText(person, placeOf(eventId, 'detail'), detail) } : named;
}

/** As its readers see it. */
export function openEvent(keys: SubjectKeys, event: RecordedEvent): RecordedEvent {
  const by = openMentions(keys, event.by);
  let data = mapText(event.data, text => openMentions(keys, text)) as JsonObject;
  for (const [path, field, kind] of fieldsByType.get(event.type) ?? []) {
    const open =
      kind === 'text' ? (text: string) => openSealed(keys, placeOf(event.id, field), text) : (text: string) => openName(keys, text);
    data = mapAt(data, path, open) as JsonObject;
  }
  if (event.type.startsWith('Alarm')) data = openAlarm(keys, event.id, data);
  const stream = openStream(keys, event.stream);
  return by === event.by && data === event.data && stream === event.stream ? event : { ...event, stream, by, data };
}

function openAlarm(keys: SubjectKeys, eventId: string, data: JsonObject): JsonObject {
  const { subject, detail } = data;
  const found = typeof subject === 'string' ? namedIn(personalAlarms, subject) : undefined;
  if (found === undefined) return data;
  const named = { ...data, subject: found.beginning + openName(keys, found.name) };
  return typeof detail === 'string'
    ? { ...named, detail: openMentions(keys, openSealed(keys, placeOf(eventId, 'detail'), detail)) }
    : named;
}

const openMentions = (keys: SubjectKeys, text: string): string =>
  text.includes('operator:~')
    ? text.replace(storedOperators, found => operatorPrefix + openName(keys, found.slice(operatorPrefix.length)))
    : text;

function openName(keys: SubjectKeys, text: string): string {
  if (!text.startsWith('~') || !isPseudonym(text)) return text;
  return keys.byId(idIn(text))?.name ?? erasedName(idIn(text));
}

function openSealed(keys: SubjectKeys, place: string, text: string): string {
  if (!isSealed(text)) return text;
  const subject = keys.byId(idIn(text));
  const opened = subject === undefined ? undefined : openText(fieldKey(subject, place), place, text);
  return opened === undefined ? erasedText : openMentions(keys, opened);
}

/** @param stream as the rest of the product names it */
export function sealStream(keys: SubjectKeys, stream: string): string {
  const found = namedIn(personalStreams, stream);
  return found === undefined ? stream : found.beginning + pseudonymOf(keys.of(found.kind, found.name).id);
}

export function openStream(keys: SubjectKeys, stream: string): string {
  const found = namedIn(personalStreams, stream);
  return found === undefined ? stream : found.beginning + openName(keys, found.name);
}

/** Whether the name of a stream names somebody. */
export const isPersonalStream = (stream: string): boolean => namedIn(personalStreams, stream) !== undefined;

function namedIn(
  beginnings: readonly (readonly [string, SubjectKind])[],
  text: string,
): { readonly beginning: string; readonly kind: SubjectKind; readonly name: string } | undefined {
  for (const [beginning, kind] of beginnings)
    if (text.startsWith(beginning) && text.length > beginning.length) return { beginning, kind, name: text.slice(beginning.length) };
  return undefined;
}

/** Every text in a value. A value without a text that changes is given back as it is. */
function mapText(value: Json, change: (text: string) => string): Json {
  if (typeof value === 'string') return change(value);
  if (typeof value !== 'object' || value === null) return value;
  if (isList(value)) return mapList(value, each => mapText(each, change));
  let changed: Record<string, Json> | undefined;
  for (const name in value) {
    const before = value[name] as Json;
    const after = mapText(before, change);
    if (after === before) continue;
    changed ??= { ...value };
    changed[name] = after;
  }
  return changed ?? value;
}

/** The texts at one place, or in a list there; in lists on the way, of each. What has no such place stays as it is. */
function mapAt(value: Json, [name, ...rest]: readonly string[], change: (text: string) => string): Json {
  if (isList(value)) return name === undefined ? value : mapList(value, each => mapAt(each, [name, ...rest], change));
  if (typeof value !== 'object' || value === null || name === undefined || !Object.hasOwn(value, name)) return value;
  const before = value[name] as Json;
  const after = rest.length > 0 ? mapAt(before, rest, change) : changeOne(before, change);
  return after === before ? value : { ...value, [name]: after };
}

function changeOne(value: Json, change: (text: string) => string): Json {
  if (typeof value === 'string') return change(value);
  return isList(value) ? mapList(value, each => (typeof each === 'string' ? change(each) : each)) : value;
}

function mapList(list: readonly Json[], change: (value: Json) => Json): readonly Json[] {
  const after = list.map(change);
  return after.some((each, i) => each !== list[i]) ? after : list;
}

const isList = (value: Json): value is readonly Json[] => Array.isArray(value);
