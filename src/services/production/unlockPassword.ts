import { utf8 } from '../../bytes.ts';
import { sha256 } from '../../digest.ts';
import { NusecError } from '../../errors.ts';
import { ensureKey } from '../../keystore/ensureKey.ts';
import type { Context } from '../base/context.ts';

/** The password that opens a unit's debug port, together with an order of two people. The keystore makes it from the UID, so it is stored nowhere,
 *  and a chip has the same one in all its generations, as its OTP holds the hash permanently. */

export const unlockKeyId = 'debug-unlock/1';

/** 32 bytes. @throws NusecError as the keystore */
export const unlockPassword = (ctx: Context, keyId: string, uid: string): Promise<Uint8Array> =>
  ctx.keystore.mac(keyId, utf8(`NuSEC debug unlock v1 ${uid}`));

/** SHA-256 of the password, for OTP; the key is made at the first call. */
export async function unlockPasswordHash(ctx: Context, uid: string): Promise<Uint8Array> {
  try {
    return sha256(await unlockPassword(ctx, unlockKeyId, uid));
  } catch (error) {
    if (!(error instanceof NusecError) || error.code !== 'KEY_NOT_FOUND') throw error;
    await ensureKey(ctx.keystore, unlockKeyId, 'AES-256');
    return sha256(await unlockPassword(ctx, unlockKeyId, uid));
  }
}
