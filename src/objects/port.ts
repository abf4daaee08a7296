/** A store of objects that the servers of several machines share: what a data folder keeps beside the log, and cannot be made again from it. */

export type StoredObject = {
  readonly bytes: Uint8Array;
  /** Of this content; another content has another one. */
  readonly tag: string;
};

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
  /** Keys with this beginning, in order, from the one after `after` (`''`: from the start); at most 1000. */
  list(prefix: string, after: string): Promise<readonly string[]>;
  close(): void;
};

/** All keys with this beginning, in order. */
export async function* allKeys(objects: ObjectStore, prefix: string): AsyncGenerator<string> {
  for (let keys = await objects.list(prefix, ''); keys.length > 0; keys = await objects.list(prefix, keys.at(-1) ?? '')) yield* keys;
}
