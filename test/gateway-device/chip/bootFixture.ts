import { createHash, createPrivateKey, sign } from 'node:crypto';
import type { BootConfig, BootDevice } from '../../../gateway-device/chip/bootloader.ts';
import { eraseRegion, flashLayout, openFlash, type Power, type Region, steadyPower } from '../../../gateway-device/chip/flash.ts';
import { openOtp } from '../../../gateway-device/chip/otp.ts';
import { sha256 } from '../../../src/digest.ts';
import { parseVersion } from '../../../src/domain/version.ts';
import { attachTrailer, buildImage, deviceTrailer, encryptBody, signInput } from '../../../src/ota/build.ts';
import { readDecryptionKey, wrapKey } from '../../../src/ota/ecies.ts';
import type { ImageSpec } from '../../../src/ota/spec.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { privateKey, publicKey } from '../../ota/vectors.ts';
import { memoryStorage } from './memory.ts';

/** A small virtual device with burned keys, a bootloader and an application, whose storage survives its power. */

export const layout = flashLayout({ sectorBytes: 512, bl2Bytes: 2048, slotBytes: 8192, dataBytes: 512 });
export const vendorUuid = new Uint8Array(16).fill(0x11);
export const classUuid = new Uint8Array(16).fill(0x22);
export const uid = new Uint8Array(16).fill(0x33);
export const config: BootConfig = {
  mode: 'swap',
  vendorUuid,
  classUuid,
  uid,
  decryption: { curve: 'P-256', privateKey: readDecryptionKey('P-256', privateKey('enc-p256')) },
};

const bootSigner = 'other-p256';
const appSigner = 'sign-p256';

export type Wish = Partial<ImageSpec> & { readonly signer?: string; readonly factory?: boolean };

/** A signed image; with `encryptionBits` encrypted for the device, or in clear with the flag (`factory`). */
export function signedImage(version: string, securityCounter: number, wish: Wish = {}): Uint8Array {
  const { signer = appSigner, factory = false, ...more } = wish;
  const payload = createHash('shake256', { outputLength: 1500 }).update(version).digest();
  const spec = { payload, version: parseVersion(version), securityCounter, headerBytes: 32, vendorUuid, classUuid, ...more };
  const built = buildImage(spec);
  const key = createPrivateKey({ key: Buffer.from(privateKey(signer)), format: 'der', type: 'pkcs8' });
  const cek = createHash('sha512')
    .update(`cek ${version}`)
    .digest()
    .subarray(0, (spec.encryptionBits ?? 0) / 8);
  const encTlv = cek.length > 0 && wrapKey(cek, publicKey('enc-p256').subarray(-65), sha256(version));
  const signature = sign('sha256', signInput(built), key);
  const trailer = deviceTrailer({
    imageHash: built.imageHash,
    publicKey: publicKey(signer),
    keyForm: 'whole',
    signature,
    ...(encTlv && { encTlv }),
  });
  return attachTrailer(encTlv && !factory ? encryptBody(built, cek) : built.body, trailer);
}

export const bl2Image = signedImage('1.0.0', 1, { signer: bootSigner });

/** The memories of one device, and the device itself as often as it is started. */
export function makeDevice(app: Uint8Array | undefined, changes: Partial<BootConfig> = {}) {
  const storage = { flash: memoryStorage(), otp: memoryStorage() };
  const start = (power: Power = steadyPower): BootDevice => ({
    flash: openFlash(layout, storage.flash, power),
    layout,
    otp: openOtp(storage.otp, power),
    config: { ...config, ...changes },
  });
  const first = start();
  const point = publicKey(bootSigner).subarray(-64);
  first.otp.burn(otpMap.bootKeyX.slot, point.subarray(0, 32));
  first.otp.burn(otpMap.bootKeyY.slot, point.subarray(32));
  first.otp.burn(otpMap.applicationKeyHash.slot, sha256(publicKey(appSigner)));
  first.flash.program(layout.bl2.offset, bl2Image);
  if (app) first.flash.program(layout.primary.offset, app);
  return { start, storage };
}

/** As an application writes an update: erase the slot, then program it sector by sector. */
export function writeSlot(device: BootDevice, region: Region, bytes: Uint8Array): void {
  eraseRegion(device.flash, region);
  for (let at = 0; at < bytes.length; at += layout.sectorBytes) {
    device.flash.program(region.offset + at, bytes.subarray(at, at + layout.sectorBytes));
  }
}
