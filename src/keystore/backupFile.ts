import { createCipheriv, createDecipheriv, hkdfSync, type KeyObject } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { CustodyKey } from './custody.ts';
import type { KeysetEntry } from './keyset.ts';
import { checkOwnerOnly } from './secretFile.ts';
import { secretKey } from './unlock.ts';

/** The backup file, format NKB1. All integers big endian.
 *
 *  | offset | bytes | what |
 *  |---|---|---|
 *  | 0  | 4 | "NKB1" |
 *  | 4  | 8 | backup id, random |
 *  | 12 | 1 | shares needed |
 *  | 13 | 1 | shares made |
 *  | 14 | 6 | milliseconds since 1970 |
 *  | 20 | … | frames |
 *
 *  A frame: length of the rest u32, then JSON under AES-256-GCM with HKDF-SHA-256(backup key, "", "NuSEC keystore backup v1"), AAD = the head,
 *  iv = number of the frame u64 ‖ 1 for the last frame, else 0 (u32): frames cannot be left out, moved or cut off at the end. The backup key
 *  serves one backup only. */

export type BackupHead = {
  readonly backupId: Uint8Array;
  readonly threshold: number;
  readonly shares: number;
  readonly createdAt: string;
};

type Text<Key, Bytes extends keyof Key> = Omit<Key, Bytes | 'wrapped'> & { readonly publicKey?: string };
export type Frame = {
  readonly keys?: readonly (Text<KeysetEntry, 'publicKey'> & { readonly secret: string })[];
  readonly custody?: readonly (Omit<CustodyKey, 'publicKey' | 'wrapped'> & { readonly publicKey: string; readonly wrapped?: string })[];
};

const magic = utf8('NKB1');
const headBytes = 20;
const timeOffset = 14;
const tagBytes = 16;
export const backupKeyBytes = 32;
/** 50 000 keys of the keyset, about 600 bytes each. */
const maxFrameBytes = 64 * 1024 * 1024;

export function createSealer(
  backupKey: KeyObject,
  head: BackupHead,
): { readonly head: Uint8Array; frame(content: Frame, isLast: boolean): Uint8Array } {
  const encoded = encodeHead(head);
  const key = frameKey(backupKey);
  let number = 0;
  return {
    head: encoded,
    frame(content, isLast) {
      const cipher = createCipheriv('aes-256-gcm', key, ivOf(number, isLast)).setAAD(encoded);
      number += 1;
      const plaintext = utf8(JSON.stringify(content));
      const sealed = concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
      plaintext.fill(0);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(sealed.length);
      return concat(length, sealed);
    },
  };
}

/** @param keyOf gives the backup key for what the head says
 *  @returns the head and the frames, read one by one @throws NOT_FOUND, KEYSTORE_PERMISSIONS, KEYSTORE_DAMAGED (also for wrong shares) */
export function openBackup(
  file: string,
  keyOf: (head: BackupHead) => KeyObject,
): { readonly head: BackupHead; readonly frames: Generator<Frame> } {
  const fd = openFile(file);
  try {
    const encoded = read(fd, headBytes);
    const head = decodeHead(encoded);
    return { head, frames: readFrames(fd, encoded, frameKey(keyOf(head))) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function* readFrames(fd: number, head: Uint8Array, key: KeyObject): Generator<Frame> {
  try {
    let isLast = false;
    for (let number = 0; !isLast; number += 1) {
      const sealed = read(fd, lengthOf(read(fd, 4)));
      const middle = openFrame(key, head, ivOf(number, false), sealed);
      isLast = middle === undefined;
      const frame = middle ?? openFrame(key, head, ivOf(number, true), sealed);
      if (!frame) throw damaged();
      yield frame;
    }
    if (readSync(fd, new Uint8Array(1)) !== 0) throw damaged();
  } finally {
    closeSync(fd);
  }
}

function openFrame(key: KeyObject, head: Uint8Array, iv: Uint8Array, sealed: Uint8Array): Frame | undefined {
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: tagBytes });
  decipher.setAAD(head).setAuthTag(sealed.subarray(-tagBytes));
  const plaintext = decipher.update(sealed.subarray(0, -tagBytes));
  try {
    decipher.final();
    return JSON.parse(new TextDecoder().decode(plaintext)) as Frame;
  } catch {
    return undefined;
  } finally {
    plaintext.fill(0);
  }
}

function encodeHead({ backupId, threshold, shares, createdAt }: BackupHead): Uint8Array {
  const head = Buffer.alloc(headBytes);
  head.set(concat(magic, backupId, Uint8Array.of(threshold, shares)));
  head.writeUIntBE(Date.parse(createdAt), timeOffset, 6);
  return new Uint8Array(head);
}

function decodeHead(bytes: Uint8Array): BackupHead {
  if (!equalBytes(bytes.subarray(0, 4), magic)) throw damaged();
  const createdAt = new Date(Buffer.from(bytes).readUIntBE(timeOffset, 6)).toISOString();
  return { backupId: bytes.slice(4, 12), threshold: bytes[12] ?? 0, shares: bytes[13] ?? 0, createdAt };
}

function ivOf(number: number, isLast: boolean): Uint8Array {
  const iv = Buffer.alloc(12);
  iv.writeBigUInt64BE(BigInt(number));
  iv.writeUInt32BE(isLast ? 1 : 0, 8);
  return iv;
}

const frameKey = (backupKey: KeyObject): KeyObject =>
  secretKey(new Uint8Array(hkdfSync('sha256', backupKey, new Uint8Array(0), utf8('NuSEC keystore backup v1'), backupKeyBytes)));

function lengthOf(bytes: Uint8Array): number {
  const length = Buffer.from(bytes).readUInt32BE();
  if (length < tagBytes || length > maxFrameBytes) throw damaged();
  return length;
}

function read(fd: number, bytes: number): Uint8Array {
  const buffer = new Uint8Array(bytes);
  let got = 0;
  while (got < bytes) {
    const count = readSync(fd, buffer, got, bytes - got, null);
    if (count === 0) throw damaged();
    got += count;
  }
  return buffer;
}

function openFile(file: string): number {
  try {
    checkOwnerOnly(file);
    return openSync(file, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new NusecError('NOT_FOUND', `there is no backup ${file}`);
    throw error;
  }
}

const damaged = (): NusecError => new NusecError('KEYSTORE_DAMAGED', 'the backup was changed, is cut off, or these are not its shares');
