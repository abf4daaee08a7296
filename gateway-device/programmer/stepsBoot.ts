import { equalBytes, toBase64url, toHex } from '../../src/bytes.ts';
import { p256Spki } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import { pointOf } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import { configImage } from '../../src/production/configWords.ts';
import { imageIds } from '../../src/production/fields.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { UnusableAnswer } from './blame.ts';
import type { BootloaderOffer } from './serverApi.ts';
import { factBytes, fetchImage, grantIdOf, learn, requireAuthenticated, type Step, type Unit } from './unit.ts';

/** Steps 7–10: the bootloader over the debug port, its key and the other hashes into OTP (R36–R42, R45–R49). */

/** The server hears with it that the certificate is in the chip. */
const askForBootloader: Step = {
  k: 7,
  name: 'bootloader from the server',
  starred: false,
  run: async unit => learn(unit, { bootKey: toBase64url(p256Spki((await bootloaderOf(unit)).publicKey)) }),
};

/** The same request gives the same answer, so what was lost in a cut is asked for again. */
async function bootloaderOf(unit: Unit): Promise<BootloaderOffer> {
  requireAuthenticated(unit);
  unit.live.bootloader ??= await unit.server.bootloader(grantIdOf(unit), sha256(factBytes(unit, 'certificate')));
  return unit.live.bootloader;
}

const writeBootloader: Step = {
  k: 8,
  name: 'bootloader to flash, read back',
  starred: false,
  needs: 'devauth',
  run: async unit => {
    const offer = await bootloaderOf(unit);
    const keySpki = factBytes(unit, 'bootKey');
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
    for (const { slot, value } of bootKeySlots(unit)) await burn(unit, slot, value);
  },
};

/** X and Y of the bootloader key. */
function bootKeySlots(unit: Unit): readonly { readonly slot: Slot; readonly value: Uint8Array }[] {
  const point = pointOf(factBytes(unit, 'bootKey'));
  return [
    { slot: otpMap.bootKeyX, value: point.slice(1, 33) },
    { slot: otpMap.bootKeyY, value: point.slice(33) },
  ];
}

/** What asks for the application key says what the steps before have left in OTP and flash: both read it back. */
const burnHashes: Step = {
  k: 10,
  name: 'OTP 2 to 5: application key, root, ICA, unlock password',
  starred: true,
  needs: 'devauth',
  run: async unit => {
    const otp = bootKeySlots(unit).map(({ slot: { slot }, value }) => ({ slot, sha256: toHex(sha256(value)) }));
    const installed = { otp, imageHash: toHex(factBytes(unit, 'bl2Hash')) };
    const { publicKey, publicKeySha256, unlockSha256 } = await unit.server.applicationKey(grantIdOf(unit), installed);
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
async function burn(unit: Unit, { slot, kind }: Slot, value: Uint8Array): Promise<void> {
  const { sha256: readBack } = await unit.target.host.request('otp', { slot, kind, value });
  if (!equalBytes(readBack, sha256(value))) throw new NusecError('RECEIPT_REFUSED', `OTP ${slot} reads back differently`);
}

export const bootSteps: readonly Step[] = [askForBootloader, writeBootloader, burnBootKey, burnHashes];
