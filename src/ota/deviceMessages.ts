import { bytesUpTo, field, nullable, oneOf, optionalField, record, text } from '../cbor/schema.ts';
import { id16, sha256, u32 } from '../production/fields.ts';

/** Payloads between a device and the server over MQTT (docs/virtual-mcu.md): deterministic CBOR maps, key 0 = cid. Blocks: blockPlan.ts.
 *  Each is named by its topic behind `n1/{uid}/`. */

const cid = field(0, u32);
const versionText = text(24);
const reasonText = text(64);
const maxJobMessageBytes = 128 * 1024;
const maxSpdmMessageBytes = 64 * 1024;
const maxSignedBytes = 2048;

/** up/hello: on each connection. `imageState` testing = runs for the first time and has not confirmed itself. */
export const helloUp = record({
  cid,
  version: field(1, versionText),
  securityCounter: field(2, u32),
  imageHash: field(3, sha256),
  bootCount: field(4, u32),
  imageState: field(5, oneOf({ confirmed: 0, testing: 1 })),
  objId: field(6, id16),
});

/** dn/spdm and up/spdm: type byte 05 or 06, then the SPDM message. A repeated cid gets the same answer. */
export const spdmMessage = record({ cid, data: field(1, bytesUpTo(maxSpdmMessageBytes, 2)) });

/** up/job/next */
export const jobNextUp = record({ cid });

/** dn/job: the answer to up/job/next; without a cid when the server has something new. Null = nothing to do. */
export const jobDown = record({ cid: optionalField(0, u32), job: field(1, nullable(bytesUpTo(maxJobMessageBytes, 1))) });

export const jobStatuses = { downloading: 1, written: 2, testing: 3, failed: 4, refused: 5 } as const;

/** up/job/{otaJobId}: how far the device is. `reason` is a code of the server's list or a reason of the bootloader; `version` is the job's. */
export const jobStatusUp = record({
  cid,
  status: field(1, oneOf(jobStatuses)),
  reason: optionalField(2, reasonText),
  version: field(3, versionText),
});

/** dn/order: a signed order (src/production/order.ts). */
export const orderDown = record({ cid, order: field(1, bytesUpTo(maxSignedBytes, 1)) });

/** up/order: the signed receipt, or why there is none. */
export const orderUp = record({
  cid,
  receipt: field(1, nullable(bytesUpTo(maxSignedBytes, 1))),
  error: optionalField(2, reasonText),
});

/** The block key: exporter secret of the SPDM session with this label and the job id as usage, 32 bytes (R91, R94). */
export const blockKeyLabel = 'NuSEC OTA';
export const blockKeyBytes = 32;
