import { hkdfSync } from 'node:crypto';
import { aes256GcmOpen } from '../cose/encrypt0.ts';
import type { ContentOpen } from './package.ts';

const keyBytes = 32;

/** AES_NuLink3 held as bytes, as a programmer does whose KeyStore is software. @param aesNuLink3 32 bytes */
export const contentOpenWith =
  (aesNuLink3: Uint8Array): ContentOpen =>
  (kdf, sealed) =>
    aes256GcmOpen(new Uint8Array(hkdfSync('sha256', aesNuLink3, kdf.salt, kdf.info, keyBytes)))(sealed);
