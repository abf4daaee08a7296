import { toHex } from '../../bytes.ts';
import { formatVersion } from '../../domain/version.ts';
import { dependenciesOf, parseBody } from '../../ota/image.ts';
import { tlvName } from '../../ota/tlv.ts';
import type { Parts } from '../base/alarms.ts';
import { releaseOf } from './releases.ts';
import { storedFirmware } from './storedFirmware.ts';

/** What the stored image of a release says of itself: read from its bytes each time, so that whoever approves looks at what devices get. */

export type ReleaseAnalysis = {
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly loadAddress: number;
  readonly flags: number;
  /** In the area that the image hash covers. `value`: hex. */
  readonly protectedTlvs: readonly { readonly type: string; readonly value: string }[];
  readonly dependencies: readonly { readonly imageId: number; readonly minVersion: string }[];
  readonly vectors?: Vectors;
};
/** The first two words of a Cortex-M image (Armv8-M Architecture Reference Manual, vector table). */
type Vectors = { readonly stackPointer: number; readonly resetHandler: number };

/** @throws NusecError NOT_FOUND, IMAGE_MALFORMED, and as `storedFirmware` */
export async function analyseRelease(parts: Parts, releaseId: string): Promise<ReleaseAnalysis> {
  const { bodySha256 } = await releaseOf(parts.ctx, releaseId);
  const { header, payload, protectedTlvs } = parseBody(await storedFirmware(parts, releaseId, bodySha256));
  const { headerBytes, payloadBytes, loadAddress, flags } = header;
  const vectors = vectorsOf(payload);
  return {
    ...{ headerBytes, payloadBytes, loadAddress, flags },
    protectedTlvs: protectedTlvs.map(({ type, value }) => ({ type: tlvName(type), value: toHex(value) })),
    dependencies: (dependenciesOf({ protectedTlvs }) ?? []).map(({ imageId, minVersion }) => ({
      imageId,
      minVersion: formatVersion(minVersion),
    })),
    ...(vectors !== undefined && { vectors }),
  };
}

/** The memory map of Armv8-M: code, then on-chip SRAM. */
const sram = { from: 0x2000_0000, end: 0x4000_0000 } as const;

/** Undefined for what does not begin like a program of a Cortex-M: a stack in memory, aligned to 8 bytes, and a handler in Thumb. */
function vectorsOf(payload: Uint8Array): Vectors | undefined {
  if (payload.length < 8) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, 8);
  const [stackPointer, resetHandler] = [view.getUint32(0, true), view.getUint32(4, true)];
  const isStack = stackPointer > sram.from && stackPointer <= sram.end && stackPointer % 8 === 0;
  return isStack && resetHandler < sram.end && resetHandler % 2 === 1 ? { stackPointer, resetHandler } : undefined;
}
