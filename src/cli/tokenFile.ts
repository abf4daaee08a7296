import { randomBytes } from 'node:crypto';
import { toBase64url } from '../bytes.ts';
import { sha256Hex } from '../digest.ts';
import { createSecretFile } from '../keystore/secretFile.ts';

/** Apart from the commands that make tokens: their help pages need no cryptography. */

const tokenBytes = 32;

/** Writes a token that nobody else has to a file of mode 600. @returns its SHA-256, hex @throws when the file exists */
export function writeToken(file: string): string {
  const token = toBase64url(new Uint8Array(randomBytes(tokenBytes)));
  createSecretFile(file, new TextEncoder().encode(token));
  return sha256Hex(token);
}
