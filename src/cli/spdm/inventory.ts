import { createPublicKey } from 'node:crypto';
import { concat, utf8 } from '../../bytes.ts';
import { curveOf } from '../../ecKey.ts';
import { u16, u32 } from '../../spdm/codec.ts';
import type { MeasurementSource } from '../../spdm/measurement.ts';
import { type KeyPair, keyPairCapability, type SetKeyPairInfo } from '../../spdm/messages/keyPairInfo.ts';
import type { CertSlot } from '../../spdm/responder/state.ts';
import type { LoadedSlots } from './slots.ts';

/** What the command-line responder says of itself: a key pair for each slot, what kind of device it is, its measurement extension log. */

/** AsymAlgoCapabilities (DSP0274 table "KEY_PAIR_INFO"). */
const asymBits = { 'P-256': 0x08, 'P-384': 0x10 } as const;
/** PqcAsymAlgoCapabilities, since 1.4. */
const mlDsaBits: Readonly<Record<string, number>> = { 'ml-dsa-44': 0x1, 'ml-dsa-65': 0x2, 'ml-dsa-87': 0x4 };
const allUses = 0x0f;

/** AlgorithmIdentifier of a SubjectPublicKeyInfo: what follows the head of the outer sequence (X.690 §8.1.3). */
function algorithmOf(spki: Uint8Array): Uint8Array {
  const length = spki[1] ?? 0;
  const at = length < 0x80 ? 2 : 2 + (length & 0x7f);
  return spki.slice(at, at + 2 + (spki[at + 1] ?? 0));
}

const changeable = keyPairCapability.usage | keyPairCapability.association | keyPairCapability.erasable | keyPairCapability.generate;

/** Key pairs that a requester may give other uses and slots, erase and have made again; they last as long as the process. What signs is the key of the
 *  folder all the time. */
export function openKeyPairs(loaded: () => LoadedSlots, slots: () => readonly CertSlot[]) {
  const changed = new Map<number, Partial<KeyPair>>();
  const pairOf = (keyPairId: number, slot: number): KeyPair => {
    const { key } = loaded();
    const spki = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));
    const curve = curveOf(spki);
    const algorithm = curve === undefined ? 0 : asymBits[curve];
    const pqcAlgorithm = mlDsaBits[key.asymmetricKeyType ?? ''] ?? 0;
    return {
      keyPairId,
      capabilities: changeable,
      usageCapabilities: allUses,
      usage: allUses,
      algorithms: algorithm,
      algorithm,
      pqcAlgorithms: pqcAlgorithm,
      pqcAlgorithm,
      slotMask: 1 << slot,
      publicKeyInfo: algorithmOf(spki),
      ...changed.get(keyPairId),
    };
  };
  return {
    pairs: (): readonly KeyPair[] => slots().map((_, slot) => pairOf(slot + 1, slot)),
    async set({ operation, keyPairId, usage, slotMask }: SetKeyPairInfo): Promise<'done'> {
      const wished = { ...changed.get(keyPairId), ...(usage !== 0 && { usage }), slotMask };
      if (operation !== 'generate') changed.set(keyPairId, operation === 'erase' ? { ...wished, ...erased } : wished);
      else {
        const { algorithm: _, pqcAlgorithm: __, publicKeyInfo: ___, ...made } = wished;
        changed.set(keyPairId, made);
      }
      return 'done';
    },
  };
}

const erased: Pick<KeyPair, 'algorithm' | 'pqcAlgorithm' | 'publicKeyInfo'> = {
  algorithm: 0,
  pqcAlgorithm: 0,
  publicKeyInfo: new Uint8Array(),
};

/** Registry IANA, the enterprise number for examples (RFC 5612). */
const ianaRegistry = 4;
const exampleEnterprise = u32(32473);

/** One device class identifier with one subordinate. */
export function deviceClasses(): Uint8Array {
  const name = utf8('example device');
  const element = concat(Uint8Array.of(ianaRegistry, exampleEnterprise.length), exampleEnterprise, Uint8Array.of(1, name.length), name);
  return concat(Uint8Array.of(1, 0, 0, 0, element.length), element);
}

/** An entry for each measurement, in the format of DMTF. */
export function measurementLog(measurements: readonly MeasurementSource[]): Uint8Array {
  const raw = 0x80;
  const entries = measurements.map(({ index, type, value }, at) =>
    concat(u32(at + 1), Uint8Array.of(index, 0, 0, 0, type | raw), u16(value.length), value),
  );
  const body = concat(...entries);
  return concat(u32(entries.length), u32(body.length), new Uint8Array(8), body);
}
