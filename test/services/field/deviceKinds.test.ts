import { generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { enrolAttestationKey } from '../../../src/services/field/devices.ts';
import { setAttestationPolicy } from '../../../src/services/firmware/lines.ts';
import type { CertSlot } from '../../../src/spdm/certSlot.ts';
import { capability, spdmVersionName } from '../../../src/spdm/constants.ts';
import { allAlgorithms } from '../../../src/spdm/negotiation.ts';
import { signingContextOf } from '../../../src/spdm/signature.ts';
import { build, line, measurementsOf, type Unit } from '../../gateway/fieldKit.ts';
import { makeDevice, makeIca, makeKey, makeRoot } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { testMs } from '../../support/limits.ts';
import {
  type Curve,
  curves,
  existsSince,
  type Peculiarity,
  type Place,
  peculiarities,
  policies,
  responderFor,
  signerOf,
  tableOf,
  type versions,
} from './deviceKinds.ts';
import { type FieldBench, openField } from './fieldBench.ts';

/** Every kind of device through the service: what it answers is the table of docs/device-kinds.md. `UPDATE_DOCS=1` writes the page. */

const page = new URL('../../../docs/device-kinds.md', import.meta.url);
let bench: FieldBench;
let vendor: CertSlot;
const units = new Map<Curve, Unit>();

beforeAll(async () => {
  bench = await openField(1);
  const { bl2, app } = bench.fleet;
  for (const curve of curves) units.set(curve, await build(bench.ctx, bl2, app, line, undefined, makeKey(curve)));
  const root = await makeRoot();
  const key = makeKey();
  const ica = await makeIca(root);
  vendor = { certificates: [root.der, ica.der, await makeDevice(ica, key)], sign: signerOf(key, 'P-256') };
}, testMs);
afterAll(() => bench.close());

async function attested(curve: Curve, place: Place, peculiarity: Peculiarity, version: (typeof versions)[number]): Promise<string> {
  if (version < existsSince[peculiarity]) return '–';
  const unit = units.get(curve)!;
  const device = bench.plugIn({ ...unit });
  device.manners.spdm = responderFor(unit, curve, place, peculiarity, version, vendor, () => measurementsOf(unit, device.manners));
  const { result, reason, negotiated } = await bench.field.attestation.attest(unit.uid);
  if (result === 'passed') expect(negotiated).toMatchObject({ version: spdmVersionName(version), signature: curve });
  return result === 'passed' ? 'passed' : `${result}: ${reason}`;
}

it(
  'attests every kind of device that its line allows, and names what it does not (R84, R85)',
  async () => {
    covers('R84', 'R85');
    const before = await bench.typesOf(units.get('P-256')!.uid);
    const tables: string[] = [];
    for (const [name, wish] of Object.entries(policies)) {
      await setAttestationPolicy(bench.ctx, line, wish, 'operator:olga');
      tables.push(
        `## ${name === 'default' ? 'A line as it is by default' : 'A line that allows 1.0 and public keys'}\n${await tableOf(attested)}\n`,
      );
    }
    const text = readFileSync(page, 'utf8');
    pageIs(`${text.slice(0, text.indexOf('## '))}${tables.join('\n')}\n${text.slice(text.indexOf(mlDsaTitle))}`);
    // What a device does not speak changes nothing about it.
    const after = await bench.typesOf(units.get('P-256')!.uid);
    expect(after.filter(type => type === 'AttestationFailed' || type === 'CloneSuspected')).toEqual([]);
    expect(after.length).toBeGreaterThan(before.length);
  },
  testMs,
);

const mlDsaTitle = '## ML-DSA in 1.4';
const mlDsaFlags = peculiarities['public key, no certificate'] | capability.chunk;
const hasMlDsa = Number(process.versions.node.split('.')[0]) >= 24;

it.skipIf(!hasMlDsa)(
  'attests a device without a certificate by its enrolled ML-DSA key, where its line says so (R85)',
  async () => {
    covers('R85');
    const rows: string[] = [];
    const why: string[] = [];
    for (const name of ['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'] as const) {
      const { unit, spki } = await postQuantumUnit(name);
      const attest = () => bench.field.attestation.attest(unit.uid);
      await setAttestationPolicy(bench.ctx, line, { signatures: ['P-256', 'P-384'], publicKey: true }, 'operator:olga');
      const byDefault = await attest();
      expect(byDefault.result).toBe('unsupported');
      if (!why.includes(byDefault.reason!)) why.push(byDefault.reason!);
      await setAttestationPolicy(bench.ctx, line, { signatures: ['P-256', name] }, 'operator:olga');
      expect(await attest()).toMatchObject({ result: 'passed', negotiated: { version: '1.4', signature: name, slot: 15 } });
      rows.push(`| public key, no certificate | ${name} | unsupported (${why.indexOf(byDefault.reason!) + 1}) | passed |`);
      const other = await build(bench.ctx, bench.fleet.bl2, bench.fleet.app);
      await expect(enrolAttestationKey(bench.ctx, other.uid, spki, undefined, 'operator:olga')).rejects.toMatchObject({
        code: 'WEAK_OR_CLONED_KEY',
      });
    }
    const text = readFileSync(page, 'utf8');
    const at = text.includes(mlDsaTitle) ? text.indexOf(mlDsaTitle) : text.length;
    const table = ['| device | key | a line of P-256 and P-384 | a line that names the key |', '|---|---|---|---|', ...rows].join('\n');
    const reasons = why.map((reason, i) => `${i + 1}. ${reason}`).join('\n');
    pageIs(
      `${text.slice(0, at)}${mlDsaTitle}\nA key of a device is enrolled; certificates are P-256 and P-384.\n\n${table}\n\n${reasons}\n`,
    );
  },
  testMs,
);

/** A device of 1.4 whose enrolled key is of that kind. */
async function postQuantumUnit(name: 'ML-DSA-44' | 'ML-DSA-65' | 'ML-DSA-87') {
  const unit = await build(bench.ctx, bench.fleet.bl2, bench.fleet.app);
  const { publicKey, privateKey } = generateKeyPairSync(name.toLowerCase() as 'ml-dsa-65');
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const device = bench.plugIn(unit);
  device.manners.spdm = {
    ...responderFor(unit, 'P-256', '0', 'public key, no certificate', 0x14, vendor, () => measurementsOf(unit, device.manners)),
    provisionedKey: {
      publicKey: spki,
      sign: async input => new Uint8Array(sign(null, input, { key: privateKey, context: signingContextOf(input) } as never)),
    },
    algorithms: { ...allAlgorithms, baseAsym: 0, pqcAsym: 7 & (1 << ['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'].indexOf(name)) },
    capabilities: { flags: mlDsaFlags, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 0x28000 },
  };
  await enrolAttestationKey(bench.ctx, unit.uid, spki, undefined, 'operator:olga');
  return { unit, spki };
}

/** The page, written with UPDATE_DOCS. */
function pageIs(made: string): void {
  if (process.env.UPDATE_DOCS) writeFileSync(page, made);
  expect(readFileSync(page, 'utf8')).toBe(made);
}

it('takes nothing less than its line asks for: version, algorithm, capability', async () => {
  const unit = units.get('P-384')!;
  const device = bench.plugIn({ ...unit });
  device.manners.spdm = responderFor(unit, 'P-384', '0', 'as ours', 0x12, vendor, () => measurementsOf(unit, device.manners));
  const wishes = [
    [{ leastVersion: '1.3' }, 'the responder has 1.2'],
    [{ leastVersion: '1.2', signatures: ['P-256'] }, 'responder answers ERROR 1'],
    [{ signatures: ['P-256', 'P-384'], requires: ['CHUNK'] }, 'the device has no CHUNK, which the line asks for'],
  ] as const;
  for (const [wish, reason] of wishes) {
    await setAttestationPolicy(bench.ctx, line, wish, 'operator:olga');
    expect(await bench.field.attestation.attest(unit.uid)).toMatchObject({
      result: 'unsupported',
      reason: expect.stringContaining(reason),
    });
  }
  const rows = bench.attestations.page(unit.uid, { limit: 1 });
  expect(rows).toMatchObject([{ result: 'unsupported', negotiated: { version: '1.2', signature: 'P-384', hash: 'SHA-384', slot: 0 } }]);
});
