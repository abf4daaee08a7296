import {
  array,
  bool,
  bytes,
  bytesUpTo,
  type Codec,
  type CodecType,
  field,
  oneOf,
  optionalField,
  record,
  text,
  uint,
} from '../../src/cbor/schema.ts';
import { ops } from '../../src/production/devauth/header.ts';
import { maxReceiptBytes } from '../../src/production/devauth/state.ts';
import { configWords, hash32, id16, stage, timeSeconds, u8, u32, uid, version } from '../../src/production/fields.ts';
import { maxPackageBytes } from '../../src/production/package.ts';
import { maxTrustBundleBytes } from '../../src/production/trustBundle.ts';
import { maxUnitDataFields } from '../../src/production/unitData.ts';

/** What the contract manufacturer's tool says to a programmer over its serial link (R70, R108): the header and CBOR maps of DevAuth, group 65.
 *  In the clear, because nothing secret crosses: the package is sealed, progress is for people. */

export const programmerGroup = 65;

/** Jobs and progress lines in one answer. */
const maxListedJobs = 16;
export const maxListedUnits = 64;
export const maxProgressEntries = 32;
/** Where a chip goes after its run. `hold`: it is not finished and comes back · `retry`: nothing was burned, it may be built again · `reject`: no unit
 *  was begun, or none is built on this chip however often it comes. */
const bin = oneOf({ pass: 1, hold: 2, retry: 3, scrap: 4, reject: 5 });
export type Bin = CodecType<typeof bin>;

const maxPieceBytes = 8 * 1024;
export const maxTextChars = 256;
/** Name of a step. */
export const maxNameChars = 64;
const maxAddressChars = 128;

type ProgrammerCommand<Q, A> = {
  readonly id: number;
  readonly op: typeof ops.read | typeof ops.write;
  readonly request: Codec<Q>;
  readonly response: Codec<A>;
};
const define = <Q, A>(command: ProgrammerCommand<Q, A>): ProgrammerCommand<Q, A> => command;

const jobStatus = record({ jobId: field(1, id16), remaining: field(2, u32), sequence: field(3, uint()) });
/** Step of docs/production.md, its name, what became of it, and a line for people. */
const progressEntry = record({
  k: field(1, u8),
  name: field(2, text(maxNameChars)),
  state: field(3, oneOf({ begin: 1, done: 2, failed: 3, waiting: 4 })),
  text: field(4, text(maxTextChars)),
});
export type ProgressEntry = CodecType<typeof progressEntry>;

const unitValue = record({ name: field(1, text(32)), value: field(2, text(64)) });

export const programmerCommands = {
  /** `uid` of the unit under way, if one was left in the journal. */
  status: define({
    id: 0,
    op: ops.read,
    request: record({}),
    response: record({
      stage: field(1, stage),
      uid: field(2, uid),
      jobs: field(3, array(jobStatus, maxListedJobs)),
      kekEpoch: field(4, u32),
      /** Hash of the newest record of each job, in the order of `jobs`. */
      ledgerHeads: field(5, array(hash32, maxListedJobs)),
      unitUid: optionalField(6, uid),
      /** All that are in the journal, on the wires or not. */
      unitUids: optionalField(7, array(uid, maxListedUnits)),
    }),
  }),
  agreeKek: define({
    id: 1,
    op: ops.write,
    request: record({ serverUrl: field(1, text(256)), bundle: optionalField(2, bytesUpTo(maxTrustBundleBytes, 1)) }),
    response: record({ epoch: field(1, u32) }),
  }),
  packagePut: define({
    id: 2,
    op: ops.write,
    request: record({
      offset: field(1, uint(maxPackageBytes)),
      totalBytes: field(2, uint(maxPackageBytes, 1)),
      data: field(3, bytesUpTo(maxPieceBytes, 1)),
      /** Of the whole file; in the first piece only. */
      sha256: optionalField(4, hash32),
    }),
    response: record({ nextOffset: field(1, uint(maxPackageBytes)) }),
  }),
  packageImport: define({
    id: 3,
    op: ops.write,
    request: record({}),
    response: record({ packageId: field(1, id16), count: field(2, u32), jobId: field(3, bytes(16)) }),
  }),
  produce: define({
    id: 4,
    op: ops.write,
    request: record({
      serialAddress: field(1, text(maxAddressChars)),
      debugAddress: field(2, text(maxAddressChars)),
      jobId: optionalField(3, id16),
    }),
    response: record({ runId: field(1, u32) }),
  }),
  progress: define({
    id: 5,
    op: ops.read,
    /** `runId`: default is the newest run. */
    request: record({ since: field(1, u32), runId: optionalField(2, u32) }),
    response: record({
      next: field(1, u32),
      entries: field(2, array(progressEntry, maxProgressEntries)),
      done: field(3, bool),
      /** `OK`, or the stable error code that ended the run. */
      outcome: optionalField(4, text(64)),
      remaining: optionalField(5, u32),
      /** Why it ended so, for people. */
      detail: optionalField(6, text(maxTextChars)),
      bin: optionalField(7, bin),
      uid: optionalField(8, uid),
      /** Unit data of a unit that was built, for its label. */
      values: optionalField(9, array(unitValue, maxUnitDataFields)),
    }),
  }),
  /** The UID of the chip on these wires; none when nothing answers there. */
  probe: define({
    id: 12,
    op: ops.read,
    request: record({ serialAddress: field(1, text(maxAddressChars)), debugAddress: field(2, text(maxAddressChars)) }),
    response: record({ uid: optionalField(1, uid) }),
  }),
  /** What an imported package says, as far as it is no secret: for people who look at it before production. */
  inspect: define({
    id: 13,
    op: ops.read,
    request: record({ packageId: field(1, id16) }),
    response: record({
      jobId: field(1, id16),
      count: field(2, u32),
      sequence: field(3, uint()),
      expiresAtSeconds: field(4, timeSeconds),
      images: field(5, array(record({ id: field(1, u8), version: field(2, version) }), maxListedJobs)),
      unitData: field(6, array(record({ name: field(1, text(32)), destination: field(2, text(16)) }), maxUnitDataFields)),
      configWords: optionalField(7, configWords),
    }),
  }),
  /** Ends a job here: images and the rest of the count are gone (RULE-19). `dryRun`: judges it, and does nothing. */
  zeroise: define({
    id: 6,
    op: ops.write,
    request: record({ jobId: field(1, id16), dryRun: optionalField(2, bool) }),
    response: record({ erasedCount: field(1, u32) }),
  }),
  /** Gives a unit up whose chip does not come back. `dryRun`: judges it, and does nothing. */
  giveUp: define({
    id: 10,
    op: ops.write,
    request: record({ uid: field(1, uid), dryRun: optionalField(2, bool) }),
    response: record({ isScrap: field(1, bool) }),
  }),
  /** The signed receipt of its own state: proves the lock to the OEM when the answer of BL2 was lost. */
  receipt: define({
    id: 7,
    op: ops.read,
    request: record({ nonce: field(1, id16) }),
    response: record({ receipt: field(1, bytesUpTo(maxReceiptBytes, 1)) }),
  }),
  /** The device in repair on the serial link: its debug port is opened, with what the server discloses once. */
  unlock: define({
    id: 8,
    op: ops.write,
    request: record({ serialAddress: field(1, text(maxAddressChars)) }),
    response: record({ runId: field(1, u32) }),
  }),
  /** The device in repair on the serial link gets key, registration id and certificate of its next generation. */
  renew: define({
    id: 9,
    op: ops.write,
    request: record({ serialAddress: field(1, text(maxAddressChars)) }),
    response: record({ runId: field(1, u32) }),
  }),
  /** The device in use on the serial link gets its outstanding upgrade or order to wipe. */
  upgrade: define({
    id: 11,
    op: ops.write,
    request: record({ serialAddress: field(1, text(maxAddressChars)) }),
    response: record({ runId: field(1, u32) }),
  }),
} as const;

export type ProgrammerCommandName = keyof typeof programmerCommands;
export type ProgrammerRequest<N extends ProgrammerCommandName> = CodecType<(typeof programmerCommands)[N]['request']>;
export type ProgrammerResponse<N extends ProgrammerCommandName> = CodecType<(typeof programmerCommands)[N]['response']>;

/** Data of one PACKAGE_PUT. */
export const packagePieceBytes = maxPieceBytes;
