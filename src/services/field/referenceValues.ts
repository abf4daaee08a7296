import { createHash } from 'node:crypto';
import { fromHex, toHex } from '../../bytes.ts';
import type { FirmwareFacts } from '../../domain/deviceEvents.ts';
import { type LivingDevice, offersOf } from '../../domain/deviceState.ts';
import { imageHashesOf, release, releaseStream } from '../../domain/release.ts';
import { formatVersion } from '../../domain/version.ts';
import type { Read } from '../../eventstore/handle.ts';
import type { NamedReference } from '../../evidence/attestationProof.ts';
import { type ImageState, measurementIndex, readImageState, readOtpCounter } from '../../ota/measurementIndex.ts';
import { readVersion } from '../../ota/version.ts';
import type { VerifiedEvidence } from '../../spdm/evidence.ts';
import { encodeMeasurementBlock, judgeMeasurements, type Measurement, type ReferenceValue } from '../../spdm/measurement.ts';
import { type Context, reader } from '../base/context.ts';

/** What a device must measure (RFC 9334 reference values): the image hashes of the releases the registry says it runs, and of the release it was
 *  offered. Upgrades and attestation share this one truth. */

/** @returns several values of one index are alternatives */
export async function referenceValuesOf(ctx: Context, state: LivingDevice): Promise<readonly ReferenceValue[]> {
  return (await namedReferences(ctx, state)).map(({ index, value }) => ({ index, value: fromHex(value) }));
}

/** The same with the release that each is of. */
export async function namedReferences(ctx: Context, state: LivingDevice): Promise<readonly NamedReference[]> {
  const { bl2, application } = measurementIndex;
  const { firmware, bootloader } = state;
  const read = reader(ctx);
  const named = (index: number, of: Named | undefined, hashes: readonly string[]): readonly NamedReference[] =>
    of === undefined ? [] : hashes.map(value => ({ index, value, releaseId: of.releaseId, version: of.version }));
  return [
    ...named(bl2, bootloader, await hashesOf(read, bootloader)),
    ...named(application, firmware, await hashesOf(read, firmware)),
    ...offersOf(state).flatMap(one => named(application, one, one.imageHashes)),
  ];
}

type Named = { readonly releaseId: string; readonly version: string };

/** Plain and encrypted variant of the release; the installed hash alone when the release is not in the registry. */
async function hashesOf(read: Read, firmware: FirmwareFacts | undefined): Promise<readonly string[]> {
  if (firmware === undefined) return [];
  const known = await read(release, releaseStream(firmware.releaseId));
  const hashes = known.status === 'NONE' ? [] : imageHashesOf(known);
  return hashes.includes(firmware.imageHash) ? hashes : [...hashes, firmware.imageHash];
}

/** What the evidence says, once it is accepted. */
export type Measured = {
  readonly imageHash?: string;
  readonly version?: string;
  /** Of the image's header. */
  readonly securityCounter?: number;
  /** Whether the application may still be reverted; undefined for a device that does not measure it. */
  readonly imageState?: ImageState;
  /** Security counter of the application in OTP. */
  readonly otpCounter?: number;
  /** SHA-256 of all measurements, hex: equal when nothing changed. */
  readonly measurementSha256: string;
  /** SPDMVersion byte; absent for what is not SPDM. */
  readonly spdmVersion?: number;
};

export function readMeasured({ measurements, version }: Pick<VerifiedEvidence, 'measurements' | 'version'>): Measured {
  const of = (index: number) => measurements.find(candidate => candidate.index === index);
  const hash = createHash('sha256');
  for (const measurement of measurements) hash.update(encodeMeasurementBlock(measurement));
  const application = of(measurementIndex.application);
  const secureVersion = of(measurementIndex.secureVersion);
  const rawOf = (index: number): Uint8Array | undefined => (of(index)?.raw ? of(index)?.value : undefined);
  const imageState = readImageState(rawOf(measurementIndex.imageState) ?? new Uint8Array());
  const otpCounter = readOtpCounter(rawOf(measurementIndex.otpCounter) ?? new Uint8Array());
  return {
    ...(application && { imageHash: toHex(application.value) }),
    ...(secureVersion?.raw === true && secureVersion.value.length === secureVersionBytes && readSecureVersion(secureVersion.value)),
    ...(imageState !== undefined && { imageState }),
    ...(otpCounter !== undefined && { otpCounter }),
    measurementSha256: hash.digest('hex'),
    spdmVersion: version,
  };
}

/** Image version 8 bytes ‖ security counter u32 LE (see ota/measurementIndex.ts). */
const secureVersionBytes = 12;

function readSecureVersion(value: Uint8Array) {
  const securityCounter = new DataView(value.buffer, value.byteOffset, value.length).getUint32(8, true);
  return { version: formatVersion(readVersion(value, 0)), securityCounter };
}

/** Debug state inside the raw hardware state: OTP mask u8 ‖ life cycle u8 ‖ debug state u8 ‖ … (see ota/measurementIndex.ts). */
const debugStateOffset = 2;
const debugLocked = 1;

/** @returns why the measurements are not what they must be, or undefined */
export function judgeMeasured(measurements: readonly Measurement[], references: readonly ReferenceValue[]): string | undefined {
  const verdict = judgeMeasurements(measurements, references);
  if (verdict.verdict === 'fail') {
    return verdict.differences.map(({ index, difference }) => `${nameOf(index)}: ${difference}`).join(', ');
  }
  const hardware = measurements.find(({ index }) => index === measurementIndex.hardwareState);
  if (hardware?.raw !== true) return 'hardware state: missing';
  return hardware.value[debugStateOffset] === debugLocked ? undefined : 'hardware state: the debug port is not locked';
}

function nameOf(index: number): string {
  return index === measurementIndex.bl2 ? 'bootloader' : index === measurementIndex.application ? 'application' : `measurement ${index}`;
}
