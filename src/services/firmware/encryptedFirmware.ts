import { fromBase64url, toHex, utf8 } from '../../bytes.ts';
import { type EncryptedVariant, encryptionPointOf, isEncryptedEnough, type LineEncryption } from '../../domain/encryption.ts';
import type { UploadedRelease } from '../../domain/release.ts';
import { NusecError } from '../../errors.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import { loadedOnce, lru } from '../../lru.ts';
import { wrapKey } from '../../ota/ecies.ts';
import { encryptedVariant, type Variant } from '../../ota/variant.ts';
import type { Context } from '../base/context.ts';

/** Encrypted firmware at the server. A content key is stored nowhere: the keystore makes it from the image hash, so that one key never serves two
 *  firmwares, and the same release has the same ciphertext in every process and after every restart. */

const contentKeyId = 'firmware-content/1';

/** The variant that the line asks for, stored. @throws NusecError IMAGE_REFUSED */
export async function makeVariant(ctx: Context, body: Uint8Array, { bits, uidBound }: LineEncryption): Promise<EncryptedVariant> {
  const { shared, sharedHash } = encryptedVariant(body, bits, uidBound);
  await ensureKey(ctx.keystore, contentKeyId, 'AES-256');
  const bodySha256 = await ctx.blobs.put(shared);
  return { bits, imageHash: toHex(sharedHash), bodySha256, size: shared.length, contentKeyId, uidBound };
}

const maxVariantsBytes = 64 * 1024 * 1024;
/** By what it is made of, which never changes: for units and for upgrades. */
const variants = loadedOnce(lru<Variant>(maxVariantsBytes, ({ shared }) => shared.length));

/** @param bodySha256  of the plain body @param read  gives it, when the variant is not in memory */
export function variantOf(bodySha256: string, { bits, uidBound }: EncryptedVariant, read: () => Promise<Uint8Array>): Promise<Variant> {
  return variants(`${bodySha256}/${bits}/${uidBound}`, async () => encryptedVariant(await read(), bits, uidBound));
}

/** 16 or 32 bytes. @throws NusecError as the keystore */
export async function contentKey(ctx: Context, { bits, imageHash, contentKeyId: keyId }: EncryptedVariant): Promise<Uint8Array> {
  const key = await ctx.keystore.mac(keyId, utf8(`NuSEC firmware content key v1 ${imageHash}`));
  return key.subarray(0, bits / 8);
}

/** Value of ENC_EC256 for one device. @throws NusecError ENCRYPTION_REQUIRED (it has no key), KEY_REFUSED */
export async function keyForDevice(
  ctx: Context,
  variant: EncryptedVariant,
  line: LineEncryption | undefined,
  device: { readonly encryptionKey?: string | undefined },
): Promise<Uint8Array> {
  const point = encryptionPointOf(line, device);
  if (point === undefined) throw new NusecError('ENCRYPTION_REQUIRED', 'the device has no certified encryption key');
  return wrapKey(await contentKey(ctx, variant), fromBase64url(point), ctx.randomBytes(32));
}

/** @throws NusecError ENCRYPTION_REQUIRED */
export function requireEncryptedEnough(line: LineEncryption | undefined, release: Pick<UploadedRelease, 'encrypted' | 'version'>): void {
  if (!isEncryptedEnough(line, release)) {
    throw new NusecError('ENCRYPTION_REQUIRED', `${release.version} has no encrypted variant: upload the same firmware again`);
  }
}
