import { equalBytes, toBase64url, toHex } from '../../src/bytes.ts';
import { p256Spki } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import { pointOf } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import { configImage } from '../../src/production/configWords.ts';
import { imageIds } from '../../src/production/fields.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { UnusableAnswer } from './blame.ts';
import { factBytes, fetchImage, grantIdOf, learn, requireAuthenticated, type Step, type Unit } from './unit.ts';

/** Steps 7–10: the bootloader over the debug port, its key and the other hashes into OTP (R36–R42, R45–R49). */

/** Asks only for the key. The step that writes the image asks again and gets the same answer (idempotent). */
const bootloaderKey: Step = {
  k: 7,
  name: 'bootloader key',
  starred: false,
  run: async unit => {
    requireAuthenticated(unit);
    const { publicKey } = await unit.server.bootloader(grantIdOf(unit));
    learn(unit, { bootKey: toBase64url(p256Spki(publicKey)) });
  },
};

const writeBootloader: Step = {
  k: 8,
  name: 'bootloader to flash, read back',
  starred: false,
  needs: 'devauth',
  run: async unit => {
    requireAuthenticated(unit);
    const keySpki = factBytes(unit, 'bootKey');
    const offer = await unit.server.bootloader(grantIdOf(unit));
    const { debug } = unit.target;
    const { bl2 } = debug.flash;
    const { bytes, info } = await fetchImage(unit, offer, { id: imageIds.bl2, keySpki, slotBytes: bl2.bytes, floor: 0 });
    await debug.writeMemory(bl2.address, bytes);
    const written = await debug.readMemory(bl2.address, bytes.length);
    if (!equalBytes(written, bytes)) throw new NusecError('IMAGE_REFUSED', 'the bootloader reads back differently');
    learn(unit, { bl2Hash: toBase64url(info.imageHash) });
  },
};

const burnBootKey: Step = {
  k: 9,
  name: 'OTP 0 and 1: bootloader key',
  starred: true,
  needs: 'devauth',
  run: async unit => {
    const point = pointOf(factBytes(unit, 'bootKey'));
    const x = await burn(unit, otpMap.bootKeyX, point.slice(1, 33));
    const y = await burn(unit, otpMap.bootKeyY, point.slice(33));
    await unit.server.bootloaderInstalled(grantIdOf(unit), [x, y], factBytes(unit, 'bl2Hash'));
  },
};

const burnHashes: Step = {
  k: 10,
  name: 'OTP 2 to 5: application key, root, ICA, unlock password',
  starred: true,
  needs: 'devauth',
  run: async unit => {
    const { publicKey, publicKeySha256, unlockSha256 } = await unit.server.applicationKey(grantIdOf(unit));
    const spki = p256Spki(publicKey);
    if (!equalBytes(sha256(spki), publicKeySha256)) throw new UnusableAnswer('KEY_REFUSED', 'the application key has another hash');
    learn(unit, { applicationKey: toBase64url(spki), ...(unlockSha256 && { unlock: toBase64url(unlockSha256) }) });
    await burn(unit, otpMap.applicationKeyHash, publicKeySha256);
    await burn(unit, otpMap.rootCaHash, sha256(factBytes(unit, 'root')));
    await burn(unit, otpMap.icaHash, sha256(factBytes(unit, 'ica')));
    if (unlockSha256) await burn(unit, otpMap.deviceSecret, unlockSha256);
    await writeConfig(unit);
  },
};

/** The last thing that needs the open debug port: the words may close it with the next reset. @throws NusecError IMAGE_REFUSED, DEVICE_STATE */
async function writeConfig({ payload, target: { debug } }: Unit): Promise<void> {
  if (payload.configWords === undefined) return;
  const { config } = debug.flash;
  if (!config) throw new NusecError('DEVICE_STATE', 'this chip has no configuration words, as its debug port says');
  const image = configImage(payload.configWords);
  await debug.writeMemory(config.address, image);
  if (!equalBytes(await debug.readMemory(config.address, image.length), image))
    throw new NusecError('IMAGE_REFUSED', 'the configuration words read back differently');
}

type Slot = (typeof otpMap)[keyof typeof otpMap];

/** Burns and compares what the chip reads back. The same value again is no harm; another one in the slot is refused by the chip and ends
 *  the unit. @throws DevAuthError otp-used, otp-verify */
async function burn(unit: Unit, { slot, kind }: Slot, value: Uint8Array): Promise<{ slot: number; sha256: string }> {
  const { sha256: readBack } = await unit.target.host.request('otp', { slot, kind, value });
  if (!equalBytes(readBack, sha256(value))) throw new NusecError('RECEIPT_REFUSED', `OTP ${slot} reads back differently`);
  return { slot, sha256: toHex(readBack) };
}

export const bootSteps: readonly Step[] = [bootloaderKey, writeBootloader, burnBootKey, burnHashes];
