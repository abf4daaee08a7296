import { fromHex, toHex } from '../bytes.ts';
import { decodeCbor } from '../cbor/decode.ts';
import { encodeCbor } from '../cbor/encode.ts';
import { type CborMap, type CborValue, isArray, isMap, isTag } from '../cbor/value.ts';
import { NusecError } from '../errors.ts';
import { measurementIndex } from '../ota/measurementIndex.ts';
import type { Seconds } from '../times.ts';
import type { NamedReference, ProvenAttestation } from './attestationProof.ts';

/** What other verifiers read: reference values as CoRIM (draft-ietf-rats-corim), and the result of an attestation as EAT claims (RFC 9711) in the shape
 *  of an attestation result (draft-ietf-rats-ear, with the trustworthiness vector of draft-ietf-rats-ar4si). Neither is signed here. */

const corimTag = 501;
const comidTag = 506;
/** Named information hash algorithm (RFC 6920): sha-256. */
const sha256Algorithm = 1;

/** @param line of the devices that these values are for */
export function encodeCorim(line: string, references: readonly NamedReference[]): Uint8Array {
  const environment = new Map([[0, new Map([[2, line]])]]);
  const measurements = references.map(({ index, value, version, releaseId }) => {
    const mval = new Map<number, CborValue>([[2, [[sha256Algorithm, fromHex(value)]]]]);
    if (version !== undefined) mval.set(0, new Map([[0, version]]));
    if (releaseId !== undefined) mval.set(11, releaseId);
    return new Map<number, CborValue>([
      [0, index],
      [1, mval],
    ]);
  });
  const comid = new Map<number, CborValue>([
    [1, new Map([[0, `nusec-${line}`]])],
    [4, new Map([[0, [[environment, measurements]]]])],
  ]);
  const tag = { tag: comidTag, value: encodeCbor(comid, maxDepth) };
  return encodeCbor(
    {
      tag: corimTag,
      value: new Map<number, CborValue>([
        [0, `nusec-${line}`],
        [1, [tag]],
      ]),
    },
    maxDepth,
  );
}

const maxDepth = 16;

/** @throws NusecError EVIDENCE_MALFORMED for what `encodeCorim` does not write, CBOR_MALFORMED */
export function decodeCorim(bytes: Uint8Array): readonly NamedReference[] {
  const outer = decodeCbor(bytes, maxDepth);
  if (!isTag(outer) || outer.tag !== corimTag) throw unreadable();
  return listAt(outer.value, 1).flatMap(tag => {
    if (!isTag(tag) || tag.tag !== comidTag || !(tag.value instanceof Uint8Array)) throw unreadable();
    const triples = listAt(mapOf(decodeCbor(tag.value, maxDepth)).get(4), 0);
    return triples.flatMap(triple =>
      isArray(triple) && isArray(triple[1] ?? 0) ? (triple[1] as readonly CborValue[]).map(referenceOf) : [],
    );
  });
}

function referenceOf(measurement: CborValue): NamedReference {
  const index = mapOf(measurement).get(0);
  const mval = mapOf(mapOf(measurement).get(1));
  const [digest] = listAt(mval, 2);
  const value = isArray(digest ?? 0) ? (digest as readonly CborValue[])[1] : undefined;
  const version = mval.get(0) === undefined ? undefined : mapOf(mval.get(0)).get(0);
  const releaseId = mval.get(11);
  if (typeof index !== 'number' || !(value instanceof Uint8Array)) throw unreadable();
  return {
    index,
    value: toHex(value),
    ...(typeof version === 'string' && { version }),
    ...(typeof releaseId === 'string' && { releaseId }),
  };
}

function mapOf(value: CborValue | undefined): CborMap {
  if (value === undefined || !isMap(value)) throw unreadable();
  return value;
}

function listAt(value: CborValue | undefined, key: number): readonly CborValue[] {
  const list = mapOf(value).get(key);
  if (list === undefined || !isArray(list)) throw unreadable();
  return list;
}

/** EAT claim keys (RFC 9711, IANA registry of CWT claims), and those of draft-ietf-rats-ear. */
const claim = { issuedAt: 6, nonce: 10, ueid: 256, profile: 265, submodules: 266, verifierId: 1004 } as const;
const appraisal = { status: 1000, vector: 1001 } as const;
const earProfile = 'tag:ietf.org,2026:rats/ear#03';
/** UEID type RAND (RFC 9711 §4.2.1) in front of the UID. */
const ueidRandom = 1;
/** Trustworthiness tiers and claims (draft-ietf-rats-ar4si §2.3); the status is the worst of them (draft-ietf-rats-ear §3.2). */
const vectorKey = { instanceIdentity: 0, configuration: 1, executables: 2 } as const;
const trust = { none: 0, affirming: 2, approvedBoot: 3, warning: 32, unrecognized: 33, contraindicated: 96 } as const;
/** A claim is in the tier that it is in or above (draft-ietf-rats-ar4si §2.3.2). */
const tiers = [trust.contraindicated, trust.warning, trust.affirming];
const tierOf = (value: number): number => tiers.find(tier => value >= tier) ?? 0;

/** @param nowSeconds when the result is made @returns an unsigned claims set */
export function encodeAttestationResult(proven: ProvenAttestation, nowSeconds: Seconds): Uint8Array {
  const { uid, nonceHex, result, measurements } = proven;
  const executables = measurements.filter(({ index }) => index === measurementIndex.bl2 || index === measurementIndex.application);
  const isJudged = executables.length > 0 && executables.every(({ judgement }) => judgement !== 'not judged');
  const differ = executables.some(({ judgement }) => judgement === 'differs');
  // No claim where an image has nothing to be compared with, and no status then: nobody has appraised it.
  const executable = differ ? trust.unrecognized : isJudged ? trust.approvedBoot : trust.none;
  const isOpen = proven.flaws.some(flaw => /^(hardware state|life cycle)/.test(flaw));
  const claims = new Map<number, number>([
    [vectorKey.instanceIdentity, trust.affirming],
    [vectorKey.configuration, isOpen ? trust.warning : trust.affirming],
    [vectorKey.executables, executable],
  ]);
  const worst = Math.max(...[...claims.values()].map(tierOf));
  const status = result !== 'passed' ? Math.max(trust.warning, worst) : isJudged ? worst : trust.none;
  const submodule = new Map<number, CborValue>([
    [appraisal.status, status],
    [appraisal.vector, claims],
  ]);
  return encodeCbor(
    new Map<number, CborValue>([
      [claim.issuedAt, nowSeconds],
      [claim.nonce, fromHex(nonceHex)],
      [claim.ueid, Uint8Array.of(ueidRandom, ...fromHex(uid))],
      [claim.profile, earProfile],
      [claim.submodules, new Map<string, CborValue>([['nusec', submodule]])],
      [
        claim.verifierId,
        new Map<number, CborValue>([
          [0, 'NuSEC'],
          [1, '1'],
        ]),
      ],
    ]),
    maxDepth,
  );
}

const unreadable = (): NusecError => new NusecError('EVIDENCE_MALFORMED', 'not a CoRIM with digests of measurements');
