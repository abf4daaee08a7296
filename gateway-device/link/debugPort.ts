import type { CodecType } from '../../src/cbor/schema.ts';
import { bytesUpTo, field, oneOf, optionalField, record, uint } from '../../src/cbor/schema.ts';
import { malformed } from '../../src/cbor/value.ts';
import { configAddress, configBytes } from '../../src/production/configWords.ts';
import { debugState, lifeCycle, u32, uid } from '../../src/production/fields.ts';

/** What a debug probe does on a target (SWD). One implementation speaks to virtual chips; hardware probes are others. */
export type DebugPort = {
  readonly flash: FlashMap;
  /** Wakes the target up. Answers on a locked chip too. */
  readonly connect: () => Promise<void>;
  /** @throws NusecError DEBUG_LOCKED, as every call below except `status` */
  readonly readUid: () => Promise<ChipIdentity>;
  readonly readMemory: (address: number, length: number) => Promise<Uint8Array>;
  /** Flash is erased and programmed sector by sector as needed; bytes around the written ones stay. */
  readonly writeMemory: (address: number, data: Uint8Array) => Promise<void>;
  /** Halts the chip and loads the DevAuth code for it to SRAM. @returns where it is started */
  readonly loadDevAuth: () => Promise<number>;
  /** Starts the code at this address. */
  readonly run: (address: number) => Promise<void>;
  readonly reset: () => Promise<void>;
  readonly status: () => Promise<ChipStatus>;
  readonly close: () => Promise<void>;
};

type LifeCycle = CodecType<typeof lifeCycle>;
type DebugState = CodecType<typeof debugState>;
/** `none`: the chip runs nothing that answers. */
type ChipStage = 'devauth' | 'bl2' | 'app' | 'programmer' | 'none';

export type ChipIdentity = {
  /** 16 bytes. */
  readonly uid: Uint8Array;
  readonly productId: number;
  readonly lifeCycle: LifeCycle;
  readonly debugState: DebugState;
};
export type ChipStatus = { readonly lifeCycle: LifeCycle; readonly debugState: DebugState; readonly stage: ChipStage };

type Area = { readonly address: number; readonly bytes: number };

/** Where in flash what belongs. */
export type FlashMap = {
  readonly bl2: Area;
  readonly primary: Area;
  /** Where the chip has configuration words (production/configWords.ts). */
  readonly config?: Area;
};

/** Memory map of the virtual target. Flash begins with BL2; then the primary and the secondary slot of the application. */
export const memoryMap = {
  sram: { address: 0x2000_0000, bytes: 64 * 1024 },
  bl2: { address: 0x0800_0000, bytes: 128 * 1024 },
  primary: { address: 0x0802_0000, bytes: 1024 * 1024 },
  secondary: { address: 0x0812_0000, bytes: 1024 * 1024 },
  config: { address: configAddress, bytes: configBytes },
} as const;

/** First bytes of the DevAuth code, by which the virtual chip recognises it. */
export const devAuthMagic = 'NSDA';

/** The virtual debug port on TCP: u32 BE length ‖ one deterministic CBOR map, request and reply by turns. */
export const maxTransferBytes = 64 * 1024;
export const maxDebugFrameBytes = maxTransferBytes + 64;

export const debugRequest = record({
  op: field(0, oneOf({ connect: 1, readUid: 2, readMemory: 3, writeMemory: 4, run: 5, reset: 6, status: 7 })),
  address: optionalField(1, u32),
  length: optionalField(2, uint(maxTransferBytes, 1)),
  data: optionalField(3, bytesUpTo(maxTransferBytes, 1)),
});
export type DebugRequest = CodecType<typeof debugRequest>;

/** `fault`: no memory at that address, or nothing there to run. */
export const debugReply = record({
  status: field(0, oneOf({ ok: 0, 'bad-request': 4, fault: 9, locked: 13 })),
  data: optionalField(1, bytesUpTo(maxTransferBytes)),
});
export type DebugReply = CodecType<typeof debugReply>;

/** Data of `readUid`: uid[16] ‖ product id u32 BE ‖ life cycle u8 ‖ debug state u8. Data of `status`: life cycle u8 ‖ debug state u8 ‖ stage u8. */
const stages = ['devauth', 'bl2', 'app', 'programmer'] as const;
const noStage = 0xff;
const identityBytes = 22;

export function encodeIdentity(chip: ChipIdentity): Uint8Array {
  const out = new Uint8Array(identityBytes);
  out.set(chip.uid);
  new DataView(out.buffer).setUint32(16, chip.productId);
  out.set([Number(lifeCycle.encode(chip.lifeCycle, 'life cycle')), Number(debugState.encode(chip.debugState, 'debug state'))], 20);
  return out;
}

/** @throws NusecError CBOR_MALFORMED */
export function decodeIdentity(data: Uint8Array): ChipIdentity {
  if (data.length !== identityBytes) throw malformed('identity of the chip');
  const productId = new DataView(data.buffer, data.byteOffset).getUint32(16);
  return identityOf(data.slice(0, 16), productId, data[20] ?? -1, data[21] ?? -1);
}

/** @throws NusecError CBOR_MALFORMED for numbers that mean nothing */
export const identityOf = (uidBytes: Uint8Array, productId: number, lifeCycleCode: number, debugCode: number): ChipIdentity => ({
  uid: uid.decode(uidBytes, 'uid'),
  productId: u32.decode(productId, 'product id'),
  lifeCycle: lifeCycle.decode(lifeCycleCode, 'life cycle'),
  debugState: debugState.decode(debugCode, 'debug state'),
});

export function encodeStatus(chip: ChipStatus): Uint8Array {
  const stage = chip.stage === 'none' ? noStage : stages.indexOf(chip.stage);
  return Uint8Array.of(Number(lifeCycle.encode(chip.lifeCycle, '')), Number(debugState.encode(chip.debugState, '')), stage);
}

/** @throws NusecError CBOR_MALFORMED */
export function decodeStatus(data: Uint8Array): ChipStatus {
  return {
    lifeCycle: lifeCycle.decode(data[0] ?? -1, 'life cycle'),
    debugState: debugState.decode(data[1] ?? -1, 'debug state'),
    stage: stages[data[2] ?? noStage] ?? 'none',
  };
}
