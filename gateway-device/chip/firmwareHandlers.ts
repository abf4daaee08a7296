import { equalBytes } from '../../src/bytes.ts';
import { type CodecType, decodeAs, encodeAs, field, oneOf, optionalField, record, uint } from '../../src/cbor/schema.ts';
import { sha256 as sha256Of } from '../../src/digest.ts';
import { verifyImage } from '../../src/ota/verify.ts';
import { compareVersion } from '../../src/ota/version.ts';
import type { DevAuthRequest } from '../../src/production/devauth/commands.ts';
import { DevAuthError, type DevAuthReason } from '../../src/production/devauth/error.ts';
import type { DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import { hash32, id16, imageIds, u32 } from '../../src/production/fields.ts';
import type { StageContext } from './board.ts';
import { applicationPolicy } from './bootloader.ts';
import { eraseRegion, type Region } from './flash.ts';
import { receiptOf } from './handlers.ts';
import { markPending } from './slotTrailer.ts';

/** FW_BEGIN, FW_CHUNK, FW_END (R54–R56): an image comes sealed, goes straight to its slot, and is judged as the bootloader judges before
 *  it counts. A chip without an application takes it into the primary slot; otherwise it waits in the secondary one for the next start.
 *  What has come is remembered in flash, so that an interrupted transfer resumes. */

const transferRecord = record({
  sha256: field(1, hash32),
  sizeBytes: field(2, u32),
  slot: field(3, oneOf({ primary: 1, secondary: 2 })),
  offset: field(4, u32),
  /** The job that permits an older version. */
  permit: optionalField(5, record({ otaJobId: field(1, id16), sequence: field(2, uint()) })),
});
type Transfer = CodecType<typeof transferRecord>;
const transferName = 'transfer';

type Permit = NonNullable<Transfer['permit']>;
/** What a device knows of signed jobs. */
export type Permits = {
  /** @returns the job, when it permits this image to this device, and has not been used up */
  readonly of: (request: DevAuthRequest<'fwBegin'>) => Promise<Permit | undefined>;
  /** The image that it permits is in its slot: it permits nothing any more. */
  readonly useUp: (permit: Permit) => void;
};

/** @param permits  without them nothing permits an older version */
export function firmwareHandlers(context: StageContext, permits?: Permits): Pick<DevAuthHandlers, 'fwBegin' | 'fwChunk' | 'fwEnd'> {
  const { chip, boot } = context;
  const device = chip.bootDevice();
  const load = (): Transfer | undefined => {
    const kept = chip.data.get(transferName);
    return kept && decodeAs(transferRecord, kept);
  };
  const save = (transfer: Transfer): void => chip.data.put(transferName, encodeAs(transferRecord, transfer));
  const need = (): Transfer => {
    const transfer = load();
    if (!transfer) throw new DevAuthError('bad-state');
    return transfer;
  };
  return {
    fwBegin: async request => {
      const { image, sizeBytes, sha256, version, securityCounter } = request;
      const slot = boot.app ? 'secondary' : 'primary';
      if (image !== imageIds.bl3) throw new DevAuthError('bad-arg');
      if (sizeBytes === 0 || sizeBytes > roomIn(chip.layout[slot], chip.layout.sectorBytes)) throw new DevAuthError('too-big');
      if (securityCounter < Math.max(chip.otp.counter('application'), boot.app?.securityCounter ?? 0)) throw new DevAuthError('rollback');
      const isOlder = boot.app !== undefined && compareVersion(version, boot.app.version) < 0;
      const permit = isOlder ? await permits?.of(request) : undefined;
      if (isOlder && permit === undefined) throw new DevAuthError('version');
      const kept = load();
      if (kept?.slot === slot && kept.sizeBytes === sizeBytes && equalBytes(kept.sha256, sha256)) return { resumeOffset: kept.offset };
      chip.data.remove(transferName);
      eraseRegion(chip.flash, chip.layout[slot]);
      save({ sha256, sizeBytes, slot, offset: 0, ...(permit && { permit }) });
      return { resumeOffset: 0 };
    },
    fwChunk: ({ offset, data }) => {
      const transfer = need();
      if (offset !== transfer.offset || offset + data.length > transfer.sizeBytes) throw new DevAuthError('bad-arg');
      chip.flash.program(chip.layout[transfer.slot].offset + offset, data);
      save({ ...transfer, offset: offset + data.length });
      return { nextOffset: offset + data.length };
    },
    fwEnd: async ({ sha256 }) => {
      const transfer = need();
      if (!equalBytes(sha256, transfer.sha256) || transfer.offset !== transfer.sizeBytes) throw new DevAuthError('bad-arg');
      const region = chip.layout[transfer.slot];
      const bytes = chip.flash.read(region.offset, transfer.sizeBytes);
      const floor = Math.max(chip.otp.counter('application'), boot.app?.securityCounter ?? 0);
      const verdict = verifyImage(bytes, applicationPolicy(device, transfer.slot, floor));
      if (!equalBytes(sha256Of(bytes), sha256) || !verdict.ok) {
        chip.data.remove(transferName);
        eraseRegion(chip.flash, region);
        throw new DevAuthError(verdict.ok ? 'unauthenticated' : reasonOf(verdict.reason));
      }
      if (transfer.permit) permits?.useUp(transfer.permit);
      if (transfer.slot === 'secondary') markPending(chip.flash, chip.layout, true);
      const { version, imageHash, securityCounter = 0 } = verdict.info;
      const app = { version, imageHash, securityCounter };
      // Nobody chose a nonce for this: the receipt is about the image that has just come.
      return { receipt: await receiptOf({ ...context, boot: { ...boot, app } }, sha256.slice(0, 16)) };
    },
  };
}

/** The last sector of a slot belongs to its trailer. */
const roomIn = (slot: Region, sectorBytes: number): number => slot.bytes - sectorBytes;

const reasonOf = (reason: string): DevAuthReason =>
  reason === 'rollback-security-counter-too-low' ? 'rollback' : reason === 'security-counter-exhausted' ? 'policy' : 'unauthenticated';
