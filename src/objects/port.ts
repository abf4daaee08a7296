/** A store of objects that the servers of several machines share: what a data folder keeps beside the log, and cannot be made again from it. */

export type StoredObject = {
  readonly bytes: Uint8Array;
  /** Of this content; another content has another one. */
  readonly tag: string;
};

/** @property storedMs when it was stored, by the clock of the object store; Unix time */
export type ListedObject = { readonly key: string; readonly storedMs: number };

/** any: whatever is there · none: nothing may be there · a tag: this content must be there. */
export type ExpectedObject = 'any' | 'none' | { readonly tag: string };

/** Keys are 1 to 512 of `a-z 0-9 / . _ -`. Everything throws STORE_UNAVAILABLE when the store gives no answer, or refuses who asks. */
export type ObjectStore = {
  /** @throws NusecError also BAD_REQUEST when it has more than 64 MiB */
  get(key: string): Promise<StoredObject | undefined>;
  /** Resolves when it is durable. A put that got no answer and is repeated gives the first result.
   *  @returns the tag; undefined when something else is there than was expected: then nothing is stored */
  put(key: string, bytes: Uint8Array, expected: ExpectedObject): Promise<string | undefined>;
  /** The content of a file, whatever its length. */
  putFile(key: string, file: string): Promise<void>;
  /** Without its content. */
  look(key: string): Promise<{ readonly bytes: number; readonly tag: string } | undefined>;
  /** Deletes it with all its earlier versions, and looks that none is left. @returns false when there was none */
  delete(key: string): Promise<boolean>;
  /** Deletes its earlier versions, and looks that only the newest is left: what was overwritten must not be read any more. */
  forgetOlder(key: string): Promise<void>;
  /** Objects whose keys have this beginning, in the order of their keys, from the one after `after` (`''`: from the start); at most 1000. */
  list(prefix: string, after: string): Promise<readonly ListedObject[]>;
  close(): void;
};

/** All keys with this beginning, in order. */
export async function* allKeys(objects: ObjectStore, prefix: string): AsyncGenerator<string> {
  for await (const { key } of allObjects(objects, prefix)) yield key;
}

/** The same, with the times. What is deleted meanwhile skips nothing. */
export async function* allObjects(objects: Pick<ObjectStore, 'list'>, prefix: string): AsyncGenerator<ListedObject> {
  for (let page = await objects.list(prefix, ''); page.length > 0; page = await objects.list(prefix, page.at(-1)?.key ?? '')) yield* page;
}
