import { randomBytes, sign } from 'node:crypto';
import type { AttestationPolicy } from '../../../src/domain/attestationPolicy.ts';
import type { CertSlot } from '../../../src/spdm/certSlot.ts';
import { capability, type SpdmVersion, spdmVersionName } from '../../../src/spdm/constants.ts';
import type { MeasurementSource } from '../../../src/spdm/measurement.ts';
import { allAlgorithms } from '../../../src/spdm/negotiation.ts';
import { deviceFlags, type ResponderOptions } from '../../../src/spdm/responder/responder.ts';
import type { Unit } from '../../gateway/fieldKit.ts';
import type { Key } from '../../pki/support.ts';

/** Device kinds: what their responders speak. Each is attested through the service; the results are the table of docs/device-kinds.md. */

export type Curve = 'P-256' | 'P-384';
export const curves: readonly Curve[] = ['P-256', 'P-384'];
export const versions: readonly SpdmVersion[] = [0x10, 0x11, 0x12, 0x13, 0x14];

/** Where our certificate is. */
export const places = { '0': 'slot 0', '1': 'slot 1 alone', other: 'slot 3, the vendor’s in slot 0' } as const;
export type Place = keyof typeof places;

const { challenge, measurementsSigned, measurementsFresh, chunk, certificate, publicKeyId, multiKeyOnly, keyPairInfo, largeResponse } =
  capability;
const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };

/** What is peculiar about a kind. */
export const peculiarities = {
  'as ours': deviceFlags,
  'measurements of 14 KB, CHUNK': deviceFlags | chunk,
  'measurements of 14 KB, no CHUNK': deviceFlags,
  'no CHAL': deviceFlags & ~challenge,
  'no signed measurements': deviceFlags & ~(measurementsSigned | measurementsFresh),
  'several keys only': deviceFlags | multiKeyOnly | keyPairInfo,
  'LARGE_RESP, CHUNK': (deviceFlags | chunk | largeResponse) >>> 0,
  'public key, no certificate': (deviceFlags & ~certificate) | publicKeyId,
} as const;
export type Peculiarity = keyof typeof peculiarities;

/** 1.0 has measurement and certificate capabilities only, and each peculiarity its first version. */
export const existsSince: Readonly<Record<Peculiarity, number>> = {
  'as ours': 0x10,
  'measurements of 14 KB, CHUNK': 0x12,
  'measurements of 14 KB, no CHUNK': 0x12,
  'no CHAL': 0x10,
  'no signed measurements': 0x10,
  'several keys only': 0x13,
  'LARGE_RESP, CHUNK': 0x14,
  'public key, no certificate': 0x11,
};

/** What lines ask for in the table. */
export const policies: Readonly<Record<'default' | 'open', Partial<AttestationPolicy>>> = {
  default: {},
  open: { leastVersion: '1.0', publicKey: true },
};

export const signerOf =
  (key: Key, curve: Curve): CertSlot['sign'] =>
  async input => {
    const hash = curve === 'P-256' ? 'sha256' : 'sha384';
    return new Uint8Array(sign(hash, input, { key: key.privateKey, dsaEncoding: 'ieee-p1363' }));
  };

/** Blocks behind our own measurements, 240 bytes each. */
const moreMeasurements: readonly MeasurementSource[] = Array.from({ length: 56 }, (_, i) => ({
  index: 0x20 + i,
  type: 3,
  form: 'raw',
  value: new Uint8Array(240).fill(i),
}));

/** @param vendor a chain that is not ours @param measured the unit's own measurements */
export function responderFor(
  { key, ...unit }: Unit,
  curve: Curve,
  place: Place,
  peculiarity: Peculiarity,
  version: SpdmVersion,
  vendor: CertSlot,
  measured: () => readonly MeasurementSource[],
): Partial<ResponderOptions> {
  const sign = signerOf(key, curve);
  const ours: CertSlot = { certificates: [unit.root, unit.ica, unit.certificate], sign };
  const slots = place === '0' ? [ours] : place === '1' ? [undefined, ours] : [vendor, undefined, undefined, ours];
  const isLarge = peculiarity.startsWith('measurements of');
  const flags = peculiarities[peculiarity];
  const isChunked = (flags & chunk) !== 0;
  const bits = curve === 'P-256' ? { baseAsym: 0x10, baseHash: 0x1 } : { baseAsym: 0x80, baseHash: 0x2 };
  return {
    versions: [version],
    slots: peculiarity === 'public key, no certificate' ? [] : slots,
    provisionedKey: { publicKey: key.spki, sign },
    capabilities: { ...sizes, flags, maxMessageBytes: isChunked ? 0x28000 : sizes.maxMessageBytes },
    algorithms: { ...allAlgorithms, ...bits, otherParams: allAlgorithms.otherParams | (peculiarity === 'several keys only' ? 0x10 : 0) },
    measurements: () => [...measured(), ...(isLarge ? moreMeasurements : [])],
    randomBytes: length => new Uint8Array(randomBytes(length)),
  };
}

/** @param attested the result for one kind: `passed`, `unsupported: why`, a dash */
export async function tableOf(
  attested: (curve: Curve, place: Place, peculiarity: Peculiarity, version: SpdmVersion) => Promise<string>,
): Promise<string> {
  const why: string[] = [];
  const cell = (result: string): string => {
    const [head, ...rest] = result.split(': ');
    if (rest.length === 0) return result;
    const reason = rest.join(': ');
    if (!why.includes(reason)) why.push(reason);
    return `${head} (${why.indexOf(reason) + 1})`;
  };
  const head = `| device | key | certificate in | ${versions.map(spdmVersionName).join(' | ')} |\n|---|---|---|${'---|'.repeat(versions.length)}`;
  const rows: string[] = [];
  for (const peculiarity of Object.keys(peculiarities) as Peculiarity[]) {
    const where = peculiarity === 'public key, no certificate' ? (['0'] as const) : (Object.keys(places) as Place[]);
    for (const curve of curves) {
      for (const place of where) {
        const cells: string[] = [];
        for (const version of versions) cells.push(cell(await attested(curve, place, peculiarity, version)));
        rows.push(`| ${peculiarity} | ${curve} | ${peculiarity.startsWith('public') ? 'none' : places[place]} | ${cells.join(' | ')} |`);
      }
    }
  }
  return `${head}\n${rows.join('\n')}\n\n${why.map((reason, i) => `${i + 1}. ${reason}`).join('\n')}`;
}
