import { NusecError } from '../../errors.ts';
import { encodeMessage, malformed, openMessage, type Reader, u16 } from '../codec.ts';
import { requestCode, responseCode, slotCount } from '../constants.ts';

/** GET_DIGESTS and DIGESTS (DSP0274 §10.6): the hash of the certificate chain of each provisioned slot. */

export type SlotDigest = {
  readonly slot: number;
  readonly digest: Uint8Array;
  /** Only on multi-key connections (1.3+): KeyPairID, CertificateInfo, KeyUsageMask. */
  readonly keyPair?: KeyPairInfo;
};
/** Bits of KeyUsageMask: what the key of a slot may sign. */
export const keyUse = { keyExchange: 0x1, challenge: 0x2, measurements: 0x4, endpointInfo: 0x8 } as const;
export type KeyUse = (typeof keyUse)[keyof typeof keyUse];
/** Certificate model, bits 2:0 of CertificateInfo. */
const certificateModel = { device: 1, alias: 2, generic: 3 } as const;
const modelBits = 0x7;
export type KeyPairInfo = { readonly keyPairId: number; readonly certificateInfo: number; readonly keyUsage: number };

export const encodeGetDigests = (version: number): Uint8Array => encodeMessage(version, requestCode.getDigests, 0, 0);

/** @throws SPDM_MALFORMED */
export function decodeGetDigests(bytes: Uint8Array): void {
  openMessage(bytes, requestCode.getDigests, 'GET_DIGESTS').body.end();
}

/** @param slots in rising order. Since 1.3 param1 has the supported slots; we support those that are provisioned. */
export function encodeDigests(version: number, slots: readonly SlotDigest[]): Uint8Array {
  let mask = 0;
  const body: Uint8Array[] = [];
  for (const { slot, digest } of slots) {
    mask |= 1 << slot;
    body.push(digest);
  }
  const keyPairs = slots.flatMap(({ keyPair }) => keyPair ?? []);
  if (keyPairs.length > 0) body.push(...encodeKeyPairs(keyPairs));
  return encodeMessage(version, responseCode.digests, version >= 0x13 ? mask : 0, mask, ...body);
}

/** All identifiers, then all models, then all masks. */
function encodeKeyPairs(keyPairs: readonly KeyPairInfo[]): readonly Uint8Array[] {
  const ids = Uint8Array.from(keyPairs, pair => pair.keyPairId);
  const infos = Uint8Array.from(keyPairs, pair => pair.certificateInfo);
  return [ids, infos, ...keyPairs.map(pair => u16(pair.keyUsage))];
}

/** @throws SPDM_MALFORMED when the length is not what the slot mask says */
export function decodeDigests(bytes: Uint8Array, hashBytes: number, multiKey: boolean): readonly SlotDigest[] {
  const { param2: mask, body } = openMessage(bytes, responseCode.digests, 'DIGESTS');
  const slots: number[] = [];
  for (let slot = 0; slot < slotCount; slot += 1) if (mask & (1 << slot)) slots.push(slot);
  if (slots.length === 0) throw malformed('DIGESTS: no slot');
  const digests = slots.map(slot => ({ slot, digest: body.take(hashBytes) }));
  const pairs = multiKey ? keyPairsOf(body, slots.length) : [];
  body.end();
  return digests.map((one, i) => (multiKey ? { ...one, keyPair: pairs[i]! } : one));
}

function keyPairsOf(body: Reader, count: number): readonly KeyPairInfo[] {
  const each = (read: () => number): readonly number[] => Array.from({ length: count }, read);
  const ids = each(() => body.u8());
  const infos = each(() => body.u8());
  const usages = each(() => body.u16());
  return ids.map((keyPairId, i) => ({ keyPairId, certificateInfo: infos[i]!, keyUsage: usages[i]! }));
}

/** What DIGESTS say of a slot, whose key is to be used so. On connections with one key they say nothing more than the digest.
 *  @throws SPDM_UNSUPPORTED for an empty slot and for a key that is not for this; SPDM_UNEXPECTED for a key pair or certificate model that a slot
 *  with a certificate cannot have: none, a reserved one, and a generic certificate in slot 0 (DSP0274 §10.6) */
export function requireKeyUse(digests: readonly SlotDigest[], slot: number, uses: readonly KeyUse[]): SlotDigest {
  const found = digests.find(candidate => candidate.slot === slot);
  if (!found) throw new NusecError('SPDM_UNSUPPORTED', `slot ${slot} has no certificate`);
  const { keyPair } = found;
  if (!keyPair) return found;
  const model = modelOf(keyPair);
  const isModel =
    model === certificateModel.device || model === certificateModel.alias || (model === certificateModel.generic && slot !== 0);
  if (keyPair.keyPairId === 0 || !isModel)
    throw new NusecError('SPDM_UNEXPECTED', `DIGESTS: key pair ${keyPair.keyPairId} with certificate model ${model} in slot ${slot}`);
  if (uses.some(use => (keyPair.keyUsage & use) === 0))
    throw new NusecError('SPDM_UNSUPPORTED', `the key of slot ${slot} is not for this use`);
  return found;
}

/** The slots whose keys are for these uses, in rising order. @throws as requireKeyUse when there is none */
export function slotsForUse(digests: readonly SlotDigest[], uses: readonly KeyUse[]): readonly SlotDigest[] {
  const isFor = ({ keyPair }: SlotDigest): boolean => keyPair === undefined || uses.every(use => (keyPair.keyUsage & use) !== 0);
  const able = digests.filter(isFor);
  const first = (able[0] ?? digests[0])?.slot ?? 0;
  return able.length === 0 ? [requireKeyUse(digests, first, uses)] : able.map(({ slot }) => requireKeyUse(digests, slot, uses));
}

export const modelOf = ({ certificateInfo }: KeyPairInfo): number => certificateInfo & modelBits;
