import { createCipheriv, createDecipheriv, createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { fromBase64url, toBase64url, utf8 } from '../../bytes.ts';
import { replaceFile } from '../../keystore/durableFile.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { readSecretFile } from '../../keystore/secretFile.ts';
import type { Context } from '../base/context.ts';

/** The TLS key of the server and its certificate in a file of mode 600, so that both survive a restart. TLS needs the private key in the memory of
 *  the process; on the disk it is sealed under a key of the keystore, so that a copy of the folder without the keystore is no server. */

export type TlsMaterial = { readonly key: KeyObject; readonly certificate: Uint8Array; readonly ica: Uint8Array };

export type TlsFile = {
  /** @returns undefined when there is none, or it does not open */
  load(): Promise<TlsMaterial | undefined>;
  save(material: TlsMaterial): Promise<void>;
};

const sealKeyId = 'tls/1';
const sealLabel = utf8('nusec TLS identity v1');
const cipherName = 'aes-256-gcm';
const ivBytes = 12;
const tagBytes = 16;
const maxFileBytes = 64 * 1024;

const bytes = z.string().transform(fromBase64url);
const content = z.strictObject({ version: z.literal(1), iv: bytes, sealedKey: bytes, certificate: bytes, ica: bytes });

export function tlsFile(ctx: Context, file: string): TlsFile {
  const sealKey = async (): Promise<Uint8Array> => {
    await ensureKey(ctx.keystore, sealKeyId, 'AES-256');
    return ctx.keystore.mac(sealKeyId, sealLabel);
  };
  return {
    async load() {
      try {
        const text = readSecretFile(file, maxFileBytes);
        if (text === undefined) return undefined;
        const { iv, sealedKey, certificate, ica } = content.parse(JSON.parse(new TextDecoder().decode(text)));
        const key = createPrivateKey({ key: open(await sealKey(), iv, sealedKey, certificate), format: 'der', type: 'pkcs8' });
        return { key, certificate, ica };
      } catch (error) {
        ctx.log.warn({ file, error: String(error) }, 'the TLS identity in this file does not open: a new one is made');
        return undefined;
      }
    },
    async save({ key, certificate, ica }) {
      const iv = randomBytes(ivBytes);
      const sealedKey = seal(await sealKey(), iv, key.export({ format: 'der', type: 'pkcs8' }), certificate);
      const text = { version: 1, iv: toBase64url(iv), sealedKey: toBase64url(sealedKey) };
      await replaceFile(file, utf8(JSON.stringify({ ...text, certificate: toBase64url(certificate), ica: toBase64url(ica) })));
    },
  };
}

/** Bound to the certificate. @returns ciphertext ‖ tag[16] */
function seal(key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array, certificate: Uint8Array): Uint8Array {
  const cipher = createCipheriv(cipherName, key, iv);
  cipher.setAAD(certificate);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function open(key: Uint8Array, iv: Uint8Array, sealed: Uint8Array, certificate: Uint8Array): Buffer {
  const decipher = createDecipheriv(cipherName, key, iv, { authTagLength: tagBytes });
  decipher.setAAD(certificate);
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  return Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()]);
}
