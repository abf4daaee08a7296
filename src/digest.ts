import { hash } from 'node:crypto';

/** SHA-256 (FIPS 180-4), 32 bytes. @param data text counts as UTF-8 */
export const sha256 = (data: Uint8Array | string): Uint8Array => new Uint8Array(hash('sha256', data, 'buffer'));

/** The same as 64 lower-case hex digits: the form of digests in events and file names. */
export const sha256Hex = (data: Uint8Array | string): string => hash('sha256', data, 'hex');
