import { type Board, type BoardEvent, createBoard } from '../../../gateway-device/chip/board.ts';
import { type Chip, openChip } from '../../../gateway-device/chip/chip.ts';
import { confirmImage } from '../../../gateway-device/chip/slotTrailer.ts';
import { type OnlineOptions, onlineDevice } from '../../../gateway-device/device/app/online.ts';
import { appStage } from '../../../gateway-device/device/appStage.ts';
import { fromHex, toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { type Image, type MemoryStorage, makeImage, newStorage } from '../../gateway-device/programmer/factory.ts';
import { makeKey } from '../../pki/support.ts';
import type { TestServer } from '../../support/server.ts';
import { build, type Firmware, type Unit } from '../fieldKit.ts';

/** Virtual MCUs that a real server knows: built in both as production would leave them, without a programmer. */

export type Mcu = { readonly unit: Unit; readonly storage: MemoryStorage };

const firmwareOf = ({ imageHash, version, securityCounter }: Image): Firmware => ({
  releaseId: 'factory',
  version: formatVersion(version),
  securityCounter,
  imageHash: toHex(imageHash),
});

/** @param ctx of a project that has the line of fieldKit.ts */
export async function buildMcu(ctx: Context): Promise<Mcu> {
  const [bootKey, appKey] = [makeKey(), makeKey()];
  const [bl2, app] = [makeImage(bootKey, '1.0.0', 1), makeImage(appKey, '1.0.0', 2)];
  const unit = await build(ctx, firmwareOf(bl2), firmwareOf(app));
  const storage = newStorage();
  const key = unit.key.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64url');
  storage.keys.save(Buffer.from(JSON.stringify({ version: 1, keys: { 0: key } })));
  const chip = open({ unit, storage });
  const burn = ({ slot }: { slot: number }, value: Uint8Array) => chip.otp.burn(slot, value);
  burn(otpMap.bootKeyX, bootKey.point.slice(1, 33));
  burn(otpMap.bootKeyY, bootKey.point.slice(33));
  burn(otpMap.applicationKeyHash, sha256(appKey.spki));
  burn(otpMap.rootCaHash, sha256(unit.root));
  burn(otpMap.icaHash, sha256(unit.ica));
  chip.flash.program(chip.layout.bl2.offset, bl2.bytes);
  chip.flash.program(chip.layout.primary.offset, app.bytes);
  confirmImage(chip.flash, chip.layout);
  const { root: rootCertificate, ica: icaCertificate, certificate: deviceCertificate } = unit;
  const bundle = await currentTrustBundle(ctx, await authorityOf(ctx));
  chip.data.putAll({ rootCertificate, icaCertificate, deviceCertificate, objId: fromHex(unit.objId), bundle });
  chip.lock();
  chip.setLifeCycle('deployed');
  return { unit, storage };
}

export const open = ({ unit, storage }: Mcu): Chip => openChip({ uid: fromHex(unit.uid), productId: 0x2354 }, storage);

export type RunningMcu = { readonly board: Board; readonly told: BoardEvent[]; stop(): Promise<void> };

export async function runMcu(server: Pick<TestServer, 'mqttPort'>, mcu: Mcu, options: Partial<OnlineOptions> = {}): Promise<RunningMcu> {
  const told: BoardEvent[] = [];
  const online = onlineDevice({
    host: '127.0.0.1',
    port: server.mqttPort,
    servername: 'localhost',
    nowSeconds: () => Math.floor(Date.now() / 1000),
    backoff: { firstReconnectMs: 20, maxReconnectMs: 200, stableAfterMs: 10_000 },
    ...options,
  });
  const board = createBoard({ chip: open(mcu), stages: { app: appStage(online) }, tell: event => told.push(event) });
  await board.reset();
  return { board, told, stop: () => board.stop() };
}
