import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { blockCount, blockHashBytes, maxBlockBytes, type OtaJob, type SignedJob } from './otaJob.ts';

/** Image blocks: cutting, hashing, and AES-256-GCM on their way (R94, RULE-13, T21).
 *
 *  The block key is HKDF-SHA-256(secret exported from the SPDM session, salt = SHA-256 of the signed job, info "NuSEC OTA blocks v1").
 *  The signed job names the hash of every block, so one key only ever meets one plaintext per block index: a repeated nonce repeats the
 *  same ciphertext and reveals nothing. Another job, or the same job signed again with other content, has another key.
 *  nonce[12] = SHA-256(otaJobId)[0..8) ‖ block index u32 BE; AAD = "NuSEC-OTA-1" ‖ otaJobId ‖ index u32 BE ‖ block count u32 BE. */

const info = utf8('NuSEC OTA blocks v1');
const aadPrefix = utf8('NuSEC-OTA-1');
export const blockTagBytes = 16;
const indexBytes = 4;
/** Of SHA-256(otaJobId), in the nonce. */
const nonceJobBytes = 8;
const minSecretBytes = 32;
/** How the session secret comes out of SPDM: `deriveExporterKey(exporter, blockSecretLabel, otaJobId, blockSecretBytes)`. */
export const blockSecretLabel = 'NuSEC OTA';
export const blockSecretBytes = 32;

/** Blocks that a server seals for one write of a connection, where they are smaller than that. */
export const sealedTogetherBytes = 64 * 1024;

export type BlockChannel = {
  readonly job: OtaJob;
  /** With the bytes of a key, node:crypto takes longer for each block than for its encryption. */
  readonly key: KeyObject;
  /** Nonce and associated data of the block at hand: `aim` writes its index into them, as fresh memory for each block is work for the collector. */
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
};

/** @param sessionSecret  at least 32 bytes exported from the session with the device @throws NusecError KEY_REFUSED when it is shorter */
export function openBlockChannel(sessionSecret: Uint8Array, { job, jobDigest }: SignedJob): BlockChannel {
  if (sessionSecret.length < minSecretBytes) throw new NusecError('KEY_REFUSED', 'the session secret has at least 32 bytes');
  const key = createSecretKey(new Uint8Array(hkdfSync('sha256', sessionSecret, jobDigest, info, 32)));
  const noIndex = new Uint8Array(indexBytes);
  const nonce = concat(sha256(job.otaJobId).subarray(0, nonceJobBytes), noIndex);
  const aad = concat(aadPrefix, job.otaJobId, noIndex, noIndex);
  writeUint32(aad, aad.length - indexBytes, blockCount(job));
  return { job, key, nonce, aad };
}

/** Ciphertext and tag[16]: in parts, as whoever sends them puts them together with more. */
export type SealedBlock = readonly [Uint8Array, Uint8Array];

/** One block of a delivery, sealed. The blocks of a body that many devices share are not hashed again for each of them.
 *  @throws NusecError IMAGE_REFUSED unless it is the block that the job names */
export function sealBlock(channel: BlockChannel, delivery: Delivery, index: number): SealedBlock {
  const plaintext = readBlock(delivery, index, channel.job.blockBytes);
  const { bodyHashes } = delivery;
  const isShared = bodyHashes !== undefined && (index + 1) * blockHashBytes <= bodyHashes.length;
  const hash = isShared ? blockHashAt(bodyHashes, index) : sha256(plaintext);
  if (!isNamed(channel.job, index, hash)) throw new NusecError('IMAGE_REFUSED', 'the block is not the one the job names');
  aim(channel, index);
  const cipher = createCipheriv('aes-256-gcm', channel.key, channel.nonce);
  cipher.setAAD(channel.aad);
  const ciphertext = cipher.update(plaintext);
  // GCM keeps nothing back.
  cipher.final();
  return [ciphertext, cipher.getAuthTag()];
}

/** @returns the block, or undefined when key, index, tag or hash is wrong: then it is asked for again */
export function openBlock(channel: BlockChannel, index: number, sealed: Uint8Array): Uint8Array | undefined {
  const split = sealed.length - blockTagBytes;
  if (!isIndex(channel.job, index) || split <= 0) return undefined;
  aim(channel, index);
  const decipher = createDecipheriv('aes-256-gcm', channel.key, channel.nonce, { authTagLength: blockTagBytes });
  decipher.setAAD(channel.aad).setAuthTag(sealed.subarray(split));
  try {
    const plaintext = concat(decipher.update(sealed.subarray(0, split)), decipher.final());
    return isBlock(channel.job, index, plaintext) ? plaintext : undefined;
  } catch {
    return undefined;
  }
}

/** Length of all sealed blocks one after the other: what is fetched by HTTPS, in ranges. Block n begins at n · (blockBytes + 16). */
export const sealedFileBytes = (job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>): number => job.imageBytes + blockCount(job) * blockTagBytes;

/** Where block `index` is in that file. @returns first byte, and the one behind its last */
export function sealedBlockAt(job: Pick<OtaJob, 'imageBytes' | 'blockBytes'>, index: number): readonly [number, number] {
  const sealedBytes = job.blockBytes + blockTagBytes;
  return [index * sealedBytes, Math.min((index + 1) * sealedBytes, sealedFileBytes(job))];
}

/** Whether these bytes are block `index` of the job. */
export const isBlock = (job: OtaJob, index: number, block: Uint8Array): boolean => isNamed(job, index, sha256(block));

const isNamed = (job: OtaJob, index: number, hash: Uint8Array): boolean =>
  isIndex(job, index) && equalBytes(hash, blockHashAt(job.blockHashes, index));

/** @returns SHA-256 of block `index`; fewer bytes where there is none */
const blockHashAt = (hashes: Uint8Array, index: number): Uint8Array =>
  hashes.subarray(index * blockHashBytes, (index + 1) * blockHashBytes);

/** What is delivered: a body shared by all devices of a release, and this device's trailer. `bodyHashes` are those of the blocks wholly in the body, as
 *  `bodyBlockHashes` gives them. */
export type Delivery = { readonly body: Uint8Array; readonly trailer: Uint8Array; readonly bodyHashes?: Uint8Array };

/** One block of body ‖ trailer, without joining them. @param into  where one of both is put together; fresh memory when not given
 *  @returns fewer bytes for the last block, none beyond the end */
function readBlock({ body, trailer }: Delivery, index: number, blockBytes: number, into?: Uint8Array): Uint8Array {
  const start = index * blockBytes;
  const end = start + blockBytes;
  if (end <= body.length) return body.subarray(start, end);
  const fromBody = body.subarray(start, end);
  const fromTrailer = trailer.subarray(Math.max(start - body.length, 0), end - body.length);
  if (into === undefined) return concat(fromBody, fromTrailer);
  into.set(fromBody);
  into.set(fromTrailer, fromBody.length);
  return into.subarray(0, fromBody.length + fromTrailer.length);
}

/** Hashes of the blocks that lie wholly in the shared body: once per release. */
export function bodyBlockHashes(body: Uint8Array, blockBytes: number): Uint8Array {
  const count = Math.floor(body.length / blockBytes);
  const out = new Uint8Array(count * blockHashBytes);
  hashRange({ body, trailer: new Uint8Array(0) }, { from: 0, to: count, blockBytes }, out);
  return out;
}

/** `blockHashes` of a job. @param shared  from `bodyBlockHashes` with the same block length */
export function deliveryBlockHashes(
  delivery: Delivery,
  blockBytes: number,
  shared = bodyBlockHashes(delivery.body, blockBytes),
): Uint8Array {
  const total = Math.ceil((delivery.body.length + delivery.trailer.length) / blockBytes);
  const out = new Uint8Array(total * blockHashBytes);
  out.set(shared);
  hashRange(delivery, { from: shared.length / blockHashBytes, to: total, blockBytes }, out);
  return out;
}

type Range = { readonly from: number; readonly to: number; readonly blockBytes: number };

function hashRange(delivery: Delivery, { from, to, blockBytes }: Range, out: Uint8Array): void {
  for (let index = from; index < to; index += 1) out.set(sha256(readBlock(delivery, index, blockBytes, joined)), index * blockHashBytes);
}

/** Where a block is put together that is only hashed: fresh memory of this size takes longer than its hash. */
const joined = new Uint8Array(maxBlockBytes);

const isIndex = (job: OtaJob, index: number): boolean => Number.isInteger(index) && index >= 0 && index < blockCount(job);

/** Writes the index of a block into nonce and associated data of its channel. node:crypto copies both. */
function aim({ nonce, aad }: BlockChannel, index: number): void {
  writeUint32(nonce, nonce.length - indexBytes, index);
  writeUint32(aad, aad.length - 2 * indexBytes, index);
}

/** Big endian. */
function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  for (let i = indexBytes, rest = value; i > 0; i -= 1, rest >>>= 8) bytes[offset + i - 1] = rest;
}
