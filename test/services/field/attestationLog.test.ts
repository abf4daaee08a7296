import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { attestationSealStream } from '../../../src/domain/attestationSeal.ts';
import { importKey } from '../../../src/ecKey.ts';
import { parseNote, verifiedBy } from '../../../src/merkle/note.ts';
import { deviceEvidence } from '../../../src/services/field/devices.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import { rootOf, sealAndForget } from '../../../src/services/proof/attestationSeals.ts';
import { logNoteKey } from '../../../src/services/proof/logKey.ts';
import { decodeEvidence, verifyEvidence } from '../../../src/spdm/evidence.ts';
import { line, type Unit } from '../../gateway/fieldKit.ts';
import { makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { changeByTwo } from '../firmware/lineKit.ts';
import { type FieldBench, openField } from './fieldBench.ts';
import { openGateway } from './gatewayBench.ts';

/** Every attestation is kept and can be shown, also one that changed nothing. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++]!;
const dayMs = 86_400_000;
const attest = (unit: Unit) => bench.field.attestation.attest(unit.uid);
const historyOf = (unit: Unit) => bench.attestations.page(unit.uid, { limit: 100 });

beforeAll(async () => {
  bench = await openField(10);
});
afterAll(() => bench.close());

it('keeps the evidence of a repeat: it is given out, verifies by the nonce of its row, and is no event (R85)', async () => {
  covers('R85');
  const unit = nextUnit();
  bench.plugIn(unit);
  await attest(unit);
  const before = await bench.typesOf(unit.uid);
  const repeats = [];
  for (let time = 0; time < 3; time++) repeats.push(await attest(unit));
  expect(await bench.typesOf(unit.uid)).toEqual(before);
  const rows = historyOf(unit);
  expect(rows).toHaveLength(4);
  for (const { evidenceSha256 = '' } of repeats) {
    const row = rows.find(candidate => candidate.evidenceSha256 === evidenceSha256);
    const evidence = decodeEvidence(await deviceEvidence(bench.ctx, bench.attestations, unit.uid, evidenceSha256));
    const nonce = fromHex(row?.nonceHex ?? '');
    await expect(verifyEvidence(evidence, { nonce, trust: () => importKey(unit.key.spki) })).resolves.toMatchObject({ version: 0x12 });
    await expect(bench.ctx.blobs.get(evidenceSha256)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
  }
});

it('keeps the signed verdict of a gateway beside the evidence, and names it in the event', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'g', unit);
  await attest(unit);
  const [row] = historyOf(unit);
  expect(row).toMatchObject({ via: 'gateway:g', result: 'passed', verdictSha256: expect.any(String) });
  const event = (await bench.ctx.store.readStream(`device-${unit.uid}`)).find(({ type }) => type === 'AttestationPassed');
  expect(event?.data.verdictSha256).toBe(row?.verdictSha256);
  expect((await bench.ctx.blobs.get(row?.verdictSha256 ?? '')).length).toBeGreaterThan(64);
});

it('keeps what a lying gateway brought in the history of the device, with its result', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'liar', unit, () => ({ key: makeKey() }));
  await attest(unit);
  expect(historyOf(unit)).toMatchObject([{ via: 'gateway:liar', result: 'unproven', evidenceSha256: expect.any(String) }]);
});

it('seals each day that is over, signed, so that no row can be changed, and forgets what is older than the line keeps', async () => {
  const unit = nextUnit();
  bench.plugIn(unit);
  await attest(unit);
  const parts = { ctx: bench.ctx, alarms: bench.alarms, attestations: bench.attestations };
  const seals = async () => (await bench.ctx.store.readStream(attestationSealStream(line))).map(({ data }) => data);
  await sealAndForget(parts);
  expect(await seals()).toEqual([]);
  bench.moveTime(2 * dayMs);
  await attest(unit);
  await sealAndForget(parts);
  await sealAndForget(parts);
  const [sealed, ...more] = await seals();
  expect(more).toEqual([]);
  const rows = [...bench.attestations.ofDay(line, String(sealed?.day))];
  expect(rootOf(rows)).toEqual({ rows: sealed?.rows, root: sealed?.root });
  const changed = rows.map((row, i) => (i === 0 ? { ...row, result: 'failed' as const } : row));
  expect(rootOf(changed).root).not.toBe(sealed?.root);
  expect(rootOf(rows.slice(1)).root).not.toBe(sealed?.root);
  const note = parseNote(String(sealed?.note));
  expect(verifiedBy(note, [await logNoteKey(bench.ctx)])).toHaveLength(1);
  expect(note.text).toContain(String(sealed?.root));

  await defineLine(bench.ctx, { line }, 'operator:rita');
  await changeByTwo(bench.ctx, line, { attestationDays: 5 });
  bench.moveTime(4 * dayMs);
  await sealAndForget(parts);
  expect([...bench.attestations.ofDay(line, String(sealed?.day))]).toEqual([]);
  expect(historyOf(unit)).toHaveLength(1);
  expect(await seals()).toHaveLength(2);
});
