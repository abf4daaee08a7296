import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { type CborMap, isMap } from '../../../src/cbor/value.ts';
import { type AttestationProof, verifyAttestationProof } from '../../../src/evidence/attestationProof.ts';
import { decodeCorim, encodeAttestationResult, encodeCorim } from '../../../src/evidence/rats.ts';
import { attestationProof } from '../../../src/services/field/attestationProofs.ts';
import type { Unit } from '../../gateway/fieldKit.ts';
import { makeRoot } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type FieldBench, openField } from './fieldBench.ts';

/** One attestation as a file, verified with the root certificate alone: nothing below asks the server. */

let bench: FieldBench;
let unit: Unit;
let proof: AttestationProof;
const verify = (changed: Partial<AttestationProof> = {}, more: object = {}) =>
  verifyAttestationProof(JSON.stringify({ ...proof, ...changed }), { roots: [unit.root], ...more });
const newest = async (): Promise<AttestationProof> => {
  const [row] = bench.attestations.page(unit.uid, { limit: 1 });
  return JSON.parse(JSON.stringify(await attestationProof(bench.ctx, bench.attestations, unit.uid, row?.id ?? 0)));
};

beforeAll(async () => {
  bench = await openField(1);
  unit = bench.fleet.units[0]!;
  bench.plugIn(unit);
  await bench.field.attestation.attest(unit.uid);
  proof = await newest();
});
afterAll(() => bench.close());

it('names certificate, measurements and references of what passed (R85)', async () => {
  covers('R85');
  const proven = await verify();
  expect(proven).toMatchObject({ result: 'passed', flaws: [], uid: unit.uid, negotiated: { version: '1.2', signature: 'P-256', slot: 0 } });
  expect(proven.certificates.map(({ subject }) => subject)).toHaveLength(3);
  expect(proven.measurements.slice(0, 2)).toMatchObject([
    { name: 'bootloader', judgement: 'equal', reference: { releaseId: unit.bootloader.releaseId } },
    { name: 'application', judgement: 'equal', reference: { releaseId: unit.firmware.releaseId, version: '1.0.0' } },
  ]);
});

it('proves nothing of a changed nonce, time or evidence, or under another root', async () => {
  await expect(verify({ nonceHex: 'ab'.repeat(32) })).rejects.toMatchObject({ code: 'SPDM_UNEXPECTED' });
  await expect(verify({}, { roots: [(await makeRoot()).der] })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  await expect(verify({}, { at: '2000-01-01T00:00:00Z' })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  await expect(verify({ uid: 'cd'.repeat(16) })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  await expect(verifyAttestationProof('{}', { roots: [] })).rejects.toMatchObject({ code: 'EVIDENCE_MALFORMED' });
});

it('fails what equals no reference, and names it', async () => {
  const references = [{ index: 2, value: '77'.repeat(32) }];
  expect(await verify({}, { references })).toMatchObject({ result: 'failed', flaws: ['application: equals no reference'] });
  expect(await verify({ references: [] })).toMatchObject({ result: 'failed' });
});

it('fails an image that the file has no reference for: who shows the file can leave one out', async () => {
  for (const [index, name] of [
    [1, 'bootloader'],
    [2, 'application'],
  ] as const) {
    const references = proof.references.filter(one => one.index !== index);
    expect(await verify({ references })).toMatchObject({
      result: 'failed',
      flaws: [`${name}: there is no reference value to compare with`],
    });
    expect(await verify({}, { references })).toMatchObject({ result: 'passed' });
  }
});

it('is compared with what the registry knew at its time, whatever the device runs today', async () => {
  const before = proof;
  bench.moveTime(86_400_000);
  unit.firmware = { ...unit.firmware, imageHash: '55'.repeat(32) };
  await bench.field.attestation.attest(unit.uid);
  expect(await newest()).toMatchObject({ result: 'failed', reason: 'application: value' });
  expect(await verify(before)).toMatchObject({ result: 'passed' });
  expect(await verify(await newest())).toMatchObject({ result: 'failed', flaws: ['application: equals no reference'] });
});

/** Status and claim of the executables (draft-ietf-rats-ear, draft-ietf-rats-ar4si). */
async function appraisalOf(shown: Awaited<ReturnType<typeof verify>>): Promise<readonly unknown[]> {
  const claims = decodeCbor(encodeAttestationResult(shown, 1_800_000_000), 16) as CborMap;
  const own = (claims.get(266) as CborMap).get('nusec') as CborMap;
  return [own.get(1000), (own.get(1001) as CborMap).get(2)];
}

it('affirms nothing of an image that it had nothing to compare with (R85)', async () => {
  covers('R85');
  expect(await appraisalOf(await verify())).toEqual([2, 3]);
  const unjudged = await verify({}, { references: proof.references.filter(({ index }) => index === 1) });
  expect([unjudged.result, await appraisalOf(unjudged)]).toEqual(['passed', [0, 0]]);
  const differing = await verify({}, { references: proof.references.map(one => ({ ...one, value: '66'.repeat(32) })) });
  expect(await appraisalOf(differing)).toEqual([32, 33]);
});

it('gives its references as CoRIM and its result as EAT claims', async () => {
  const corim = encodeCorim('meter', proof.references);
  expect(decodeCorim(corim)).toEqual(proof.references);
  expect(await verify({ references: [] }, { references: decodeCorim(corim) })).toMatchObject({ result: 'passed' });
  const claims = decodeCbor(encodeAttestationResult(await verify(), 1_800_000_000), 16);
  expect(isMap(claims) && claims.get(10)).toEqual(fromHex(proof.nonceHex));
  expect(isMap(claims) && claims.get(265)).toBe('tag:ietf.org,2026:rats/ear#03');
});
