import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { S3Client } from '@aws-sdk/client-s3';
import { equalBytes } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { type Address, parseAddress } from './address.ts';
import { createAsking, type StoreWatch, silentAfterMs } from './asking.ts';
import type { ExpectedObject, ObjectStore, StoredObject } from './port.ts';

/** The driver for object stores that speak the protocol of Amazon S3. It needs conditional writes (`If-None-Match`, `If-Match`), and looks at the start
 *  whether the store has them. */

export type S3Options = {
  /** `s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]`; see address.ts. */
  readonly url: string;
  /** `ACCESS-KEY:SECRET`; default: what the environment gives the AWS SDK. */
  readonly credentials?: string | undefined;
  /** Told when there was no answer for half a minute, and when there is one again. */
  readonly watch?: StoreWatch | undefined;
};

type Library = typeof import('@aws-sdk/client-s3');

const maxObjectBytes = 64 * 1024 * 1024;
/** Without a byte in either direction. The client's `requestTimeout` ends nothing unless it is told to, and would be over the whole of a large object. */
const silenceMs = 5000;
const maxKeys = 1000;
/** Versions of one object that are listed and deleted in one go; there are a handful. */
const maxVersions = 1000;

/** It would write on the standard error what the caller is told anyway. */
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/** @throws NusecError BAD_REQUEST (not an address, not TLS to another machine, the package is not installed, no conditional writes), STORE_UNAVAILABLE */
export async function openS3({ url, credentials, watch }: S3Options): Promise<ObjectStore> {
  const address = parseAddress(url);
  const library = await import('@aws-sdk/client-s3').catch(cause => {
    throw new NusecError('BAD_REQUEST', 'the object store needs the optional npm package @aws-sdk/client-s3', { cause });
  });
  const client = new library.S3Client({
    region: address.region,
    ...(address.endpoint !== undefined && { endpoint: address.endpoint, forcePathStyle: true }),
    ...(credentials !== undefined && { credentials: keysIn(credentials) }),
    requestHandler: { connectionTimeout: silentAfterMs, socketTimeout: silenceMs },
    // Not every store knows the newer checksums; whoever reads checks hashes and seals of our own.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It is tried again here (asking.ts): the client would wait for a silent store three times, and cannot send a file again.
    maxAttempts: 1,
    logger: quiet,
  });
  const objects = driver(library, client, address, createAsked(watch));
  try {
    await requireConditions(objects);
    return objects;
  } catch (error) {
    objects.close();
    throw error;
  }
}

function keysIn(credentials: string): { accessKeyId: string; secretAccessKey: string } {
  const colon = credentials.indexOf(':');
  return { accessKeyId: credentials.slice(0, colon), secretAccessKey: credentials.slice(colon + 1) };
}

function driver(library: Library, client: S3Client, { bucket: Bucket, prefix }: Address, asked: Asked): ObjectStore {
  const at = (key: string) => ({ Bucket, Key: prefix + key });

  const get = (key: string): Promise<StoredObject | undefined> =>
    asked(async () => {
      const { Body, ETag = '', ContentLength = 0 } = await client.send(new library.GetObjectCommand(at(key)));
      if (ContentLength > maxObjectBytes) throw new NusecError('BAD_REQUEST', `object ${key} has more than ${maxObjectBytes} bytes`);
      return { bytes: (await Body?.transformToByteArray()) ?? new Uint8Array(), tag: ETag };
    });
  /** Of one object, the newest first, which come before those of other objects; what marks a deletion is one too. */
  const versionsOf = (key: string) =>
    asked(async () => {
      const found = await client.send(new library.ListObjectVersionsCommand({ Bucket, Prefix: prefix + key, MaxKeys: maxVersions }));
      return [...(found.Versions ?? []), ...(found.DeleteMarkers ?? [])].filter(({ Key }) => Key === prefix + key);
    }).then(versions => versions ?? []);
  const deleteVersions = async (key: string, which: (isLatest: boolean) => boolean): Promise<boolean> => {
    const listed = await versionsOf(key);
    const doomed = listed.filter(({ IsLatest = false }) => which(IsLatest));
    for (const { VersionId } of doomed)
      await asked(() => client.send(new library.DeleteObjectCommand({ ...at(key), ...(VersionId !== undefined && { VersionId }) })));
    // Another machine may have stored a newer one meanwhile: only those that were deleted must be gone.
    const gone = new Set(doomed.map(nameOf));
    if (doomed.length > 0 && (await versionsOf(key)).some(version => gone.has(nameOf(version))))
      throw new NusecError('STORE_UNAVAILABLE', `the object store keeps versions of ${key} that were deleted`);
    if (doomed.length > 0 && listed.length >= maxVersions) await deleteVersions(key, which);
    return doomed.length > 0;
  };

  return {
    get,
    async put(key, bytes, expected) {
      const send = (condition: ReturnType<typeof conditionOf>) =>
        asked(() => client.send(new library.PutObjectCommand({ ...at(key), Body: bytes, ...condition })));
      const stored = await send(conditionOf(expected));
      if (stored !== undefined) return stored.ETag ?? '';
      // Refused: by what an earlier try of the same has stored, or by somebody else's.
      const there = await get(key);
      if (there !== undefined && equalBytes(there.bytes, bytes)) return there.tag;
      if (typeof expected === 'string' || there?.tag !== expected.tag) return undefined;
      // What was expected is there: Ceph before 18 compares tags without their quotes.
      return (await send({ IfMatch: expected.tag.replaceAll('"', '') }))?.ETag;
    },
    async putFile(key, file) {
      const { size } = await stat(file);
      await asked(() => client.send(new library.PutObjectCommand({ ...at(key), Body: createReadStream(file), ContentLength: size })));
    },
    async look(key) {
      const found = await asked(() => client.send(new library.HeadObjectCommand(at(key))));
      return found && { bytes: found.ContentLength ?? 0, tag: found.ETag ?? '' };
    },
    delete: key => deleteVersions(key, () => true),
    forgetOlder: async key => void (await deleteVersions(key, isLatest => !isLatest)),
    async list(begin, after) {
      const listed = await asked(() =>
        client.send(
          new library.ListObjectsV2Command({
            Bucket,
            Prefix: prefix + begin,
            MaxKeys: maxKeys,
            ...(after !== '' && { StartAfter: prefix + after }),
          }),
        ),
      );
      return (listed?.Contents ?? []).map(({ Key = '', LastModified }) => ({
        key: Key.slice(prefix.length),
        storedMs: LastModified?.getTime() ?? 0,
      }));
    },
    close: () => client.destroy(),
  };
}

/** One version: a store that keeps none calls each of them the same, its content tells them apart. */
function nameOf(version: { VersionId?: string | undefined; ETag?: string | undefined }): string {
  return `${version.VersionId ?? ''} ${version.ETag ?? ''}`;
}

function conditionOf(expected: ExpectedObject): { readonly IfMatch?: string; readonly IfNoneMatch?: string } {
  if (expected === 'any') return {};
  return expected === 'none' ? { IfNoneMatch: '*' } : { IfMatch: expected.tag };
}

const notFound = 404;
/** Not what was expected, or two writers at the same moment. */
const conflicts: readonly unknown[] = [409, 412];

/** @returns undefined when there is no such object, or it is not as expected @throws NusecError STORE_UNAVAILABLE */
type Asked = <Result>(work: () => Promise<Result>) => Promise<Result | undefined>;

type ServiceError = {
  readonly name?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly clockSkewCorrected?: boolean };
};

const statusOf = (error: unknown): number | undefined => (error as ServiceError).$metadata?.httpStatusCode;

/** Too many at once, or trouble of the store's own; or its clock is another one, by which the client goes from then on. */
function mayTryAgain(error: unknown): boolean {
  if (error instanceof NusecError) return false;
  const { $metadata } = error as ServiceError;
  const status = $metadata?.httpStatusCode;
  return status === undefined || status === 429 || status >= 500 || $metadata?.clockSkewCorrected === true;
}

const isAnswer = (error: unknown): boolean => error instanceof NusecError || statusOf(error) !== undefined;

function createAsked(watch: StoreWatch = {}): Asked {
  const ask = createAsking({ isAnswer, mayTryAgain, watch });
  return async work => {
    try {
      return await ask(work);
    } catch (cause) {
      if (cause instanceof NusecError) throw cause;
      const { name, code } = cause as ServiceError;
      const status = statusOf(cause);
      if ((status === notFound && name !== 'NoSuchBucket') || conflicts.includes(status)) return undefined;
      // The text of the error may have the request in it.
      const why = status === undefined ? `no answer (${code ?? name})` : `${name} (${status})`;
      throw new NusecError('STORE_UNAVAILABLE', `the object store: ${why}`, { cause });
    }
  };
}

const probeKey = 'probe';
const probe = new Uint8Array([1]);

/** A store that ignores conditions would let two servers overwrite each other's keys. */
async function requireConditions(objects: ObjectStore): Promise<void> {
  await objects.put(probeKey, probe, 'any');
  const overwritten = await objects.put(probeKey, new Uint8Array([2]), 'none');
  const replaced = await objects.put(probeKey, new Uint8Array([3]), { tag: '"0"' });
  if (overwritten !== undefined || replaced !== undefined)
    throw new NusecError('BAD_REQUEST', 'the object store has no conditional writes (If-None-Match, If-Match), which NuSEC needs');
}
