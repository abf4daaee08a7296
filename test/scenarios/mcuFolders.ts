import { join } from 'node:path';
import { type ChipIdentity, openChipFolder } from '../../gateway-device/chip/chip.ts';
import { fileVault } from '../../gateway-device/chip/keyStore.ts';
import { confirmImage } from '../../gateway-device/chip/slotTrailer.ts';
import { concat, fromHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import type { UploadedRelease } from '../../src/domain/release.ts';
import { attachTrailer, deviceTrailer } from '../../src/ota/build.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { authorityOf } from '../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../src/services/authority/trustBundle.ts';
import type { Context } from '../../src/services/base/context.ts';
import { livingDevice } from '../../src/services/base/livingDevice.ts';
import { build, type Fleet, type Unit } from '../gateway/fieldKit.ts';

/** Chips in folders, as production leaves them, without a programmer: `nusec mcu run` starts each as a process of its own. Their boot keys are those
 *  of the server's custody, so they boot what the server signs. */

/** Builds a unit in the registry and its chip in a folder. */
export async function makeMcuFolder(ctx: Context, { bl2, app }: Fleet, folder: string): Promise<Unit> {
  const unit = await build(ctx, bl2, app);
  fileVaultWith(folder, unit);
  const identity: ChipIdentity = { uid: fromHex(unit.uid), productId: 0x2354 };
  const chip = openChipFolder(folder, identity);
  const images = { bl2: await imageFor(ctx, unit, 'bl2', bl2), app: await imageFor(ctx, unit, 'app', app) };
  const point = images.bl2.spki.slice(-65);
  chip.otp.burn(otpMap.bootKeyX.slot, point.slice(1, 33));
  chip.otp.burn(otpMap.bootKeyY.slot, point.slice(33));
  chip.otp.burn(otpMap.applicationKeyHash.slot, sha256(images.app.spki));
  chip.otp.burn(otpMap.rootCaHash.slot, sha256(unit.root));
  chip.otp.burn(otpMap.icaHash.slot, sha256(unit.ica));
  chip.flash.program(chip.layout.bl2.offset, images.bl2.bytes);
  chip.flash.program(chip.layout.primary.offset, images.app.bytes);
  confirmImage(chip.flash, chip.layout);
  const { root: rootCertificate, ica: icaCertificate, certificate: deviceCertificate } = unit;
  const bundle = await currentTrustBundle(ctx, await authorityOf(ctx));
  chip.data.putAll({ rootCertificate, icaCertificate, deviceCertificate, objId: fromHex(unit.objId), bundle });
  chip.lock();
  chip.setLifeCycle('deployed');
  chip.sync();
  chip.close();
  return unit;
}

function fileVaultWith(folder: string, unit: Unit): void {
  openChipFolder(folder, { uid: fromHex(unit.uid), productId: 0x2354 }).close();
  const key = unit.key.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64url');
  fileVault(join(folder, 'keystore.json')).save(Buffer.from(JSON.stringify({ version: 1, keys: { 0: key } })));
}

async function imageFor(ctx: Context, { uid }: Unit, slot: 'bl2' | 'app', release: UploadedRelease) {
  const { keyId } = (await livingDevice(ctx, uid)).bootKeys[slot] ?? { keyId: '' };
  const body = await ctx.blobs.get(release.bodySha256);
  const spki = await ctx.bootKeys.ensure(keyId);
  const signature = await ctx.bootKeys.sign(keyId, sha256(body));
  const trailer = deviceTrailer({ imageHash: fromHex(release.imageHash), publicKey: spki, keyForm: 'whole', signature });
  return { spki, bytes: attachTrailer(concat(body), trailer) };
}
