import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Evidence } from '../../../src/evidence/format.ts';
import { verifyEvidence } from '../../../src/evidence/verify.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { eraseSubject } from '../../../src/services/administration/subjects.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import { quarantineDevice, releaseDevice } from '../../../src/services/field/devices.ts';
import { type Checkpoints, keepCheckpoints } from '../../../src/services/proof/checkpoints.ts';
import { createDeviceEvidence, type DeviceEvidence } from '../../../src/services/proof/deviceEvidence.ts';
import { cosignedFolder } from '../../../src/services/proof/witness.ts';
import { covers } from '../../support/covers.ts';
import { pythonWith } from '../../support/python.ts';
import { openProject, type Project, type TestDevice } from '../project.ts';

/** Evidence of a real project: its log, keystore, roots and certificates; checked by the product and by a reader in another language. */

let project: Project;
let checkpoints: Checkpoints;
let exporter: DeviceEvidence;
let device: TestDevice;
let evidence: Evidence;
let roots: Uint8Array[];
beforeAll(async () => {
  project = await openProject();
  const headsFile = join(project.dataDir, 'heads.db');
  checkpoints = await keepCheckpoints(project, { file: join(project.dataDir, 'log.checkpoint'), headsFile });
  exporter = createDeviceEvidence(project.ctx, headsFile, cosignedFolder(project.dataDir));
  for (let i = 0; i < 5; i++) await project.newDevice();
  device = await project.newDevice();
  await project.revoke(device);
  await project.newDevice();
  roots = [rootDer(await authorityOf(project.ctx))];
  evidence = await exporter.export(device.uid);
});
afterAll(async () => {
  await exporter.close();
  await checkpoints.close();
  await project.close();
});

const verify = (changed: Evidence, trusted = roots) => verifyEvidence(JSON.stringify(changed), trusted);
const refused = (detail: string) => expect.objectContaining({ code: 'EVIDENCE_REFUSED', message: expect.stringContaining(detail) });
const withHistory = (change: Partial<Evidence['history']>): Evidence => ({ ...evidence, history: { ...evidence.history, ...change } });

const python = pythonWith('cryptography') ?? 'python3';

/** @returns what examples/verify_evidence.py says */
function inPython(file: Evidence): { status: number | null; text: string } {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-evidence-'));
  const [path, rootFile] = [join(folder, 'evidence.json'), join(folder, 'root.pem')];
  writeFileSync(path, JSON.stringify(file));
  writeFileSync(rootFile, toPem('CERTIFICATE', roots[0] as Uint8Array));
  const script = new URL('../../../examples/verify_evidence.py', import.meta.url).pathname;
  const { status, stdout, stderr } = spawnSync(python, [script, path, rootFile], { encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  return { status, text: stdout + stderr };
}

describe('the evidence of a device (T18, T19)', () => {
  it('proves its whole history to whoever has the root certificate, with its certificate inside', async () => {
    covers('T18', 'T19');
    const proven = verify(evidence);
    const events = await project.ctx.store.readStream(`device-${device.uid}`);
    expect(proven.events.map(({ type }) => type)).toEqual(events.map(({ type }) => type));
    expect(proven.events.at(-1)?.type).toBe('CertificateRevoked');
    expect(Object.values(evidence.blobs)).toContain(Buffer.from(device.certificate).toString('base64'));
  });

  it('covers what happened up to a moment before it was made', async () => {
    const later = await project.newDevice();
    const proven = verify(await exporter.export(later.uid));
    expect(proven.size).toBeGreaterThan(verify(evidence).size);
    expect(proven.events.at(-1)?.type).not.toBe('CertificateRevoked');
  });

  it('of a device that is not there is not found', async () => {
    await expect(exporter.export('00'.repeat(16))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('people in the evidence of a device', () => {
  const reason = 'found at the desk of Mr Smith';
  /** Who did what to the device, and what they wrote, as a reader of the file gets it. */
  const told = (file: Evidence) => verify(file).events.map(({ by, texts }) => `${by} ${Object.values(texts ?? {}).join()}`);

  it('are named with what they wrote about it and nothing else of theirs, until they are erased; older files stay as they are', async () => {
    const other = await project.newDevice();
    const shown = await project.newDevice();
    await quarantineDevice(project.ctx, shown.uid, reason, 'operator:carol');
    await releaseDevice(project.ctx, shown.uid, 'looked at by Dave', 'operator:dave');
    await quarantineDevice(project.ctx, other.uid, 'another matter of Carol', 'operator:carol');
    const before = await exporter.export(shown.uid);
    expect(told(before)).toEqual(expect.arrayContaining([`operator:carol ${reason}`, 'operator:dave looked at by Dave']));
    const keys = Object.keys(before.disclosed?.textKeys ?? {});
    const own = new Set(before.history.events.map(text => (JSON.parse(text) as readonly unknown[])[2]));
    expect(keys).toHaveLength(2);
    expect(keys.every(place => own.has(place.split('/')[0] as string))).toBe(true);

    const { id } = project.ctx.subjects.find('operator', 'carol') ?? { id: '' };
    for (const administrator of ['alice', 'bob'])
      await eraseSubject({ ctx: project.ctx, alarms: project.alarms }, id, { reason: 'asked for it' }, administrator);
    const after = await exporter.export(shown.uid);
    expect(told(after)).toEqual(expect.arrayContaining(['operator:erased erased', 'operator:dave looked at by Dave']));
    expect(after.disclosed?.people[id]).toBe('erased');
    expect(Object.keys(after.disclosed?.textKeys ?? {})).toEqual(keys.slice(1));
    for (const gone of ['carol', 'Mr Smith']) expect(JSON.stringify([after, told(after)])).not.toContain(gone);
    expect(inPython(after)).toMatchObject({ status: 0 });
    expect(told(before)).toContain(`operator:carol ${reason}`);

    // A name that the log does not mean.
    const [dave, person] =
      Object.entries(after.disclosed?.people ?? {}).find(([, each]) => each !== 'erased' && each.name === 'dave') ?? [];
    const people = { ...after.disclosed?.people, [dave as string]: { ...(person as object), name: 'frank' } };
    const forged = { ...after, disclosed: { ...after.disclosed, people } as Evidence['disclosed'] };
    expect(() => verify(forged)).toThrow(refused('does not speak of frank'));
  });
});

const forgeries: readonly [what: string, forge: () => Evidence][] = [
  ['the revocation left out', () => withHistory({ events: evidence.history.events.slice(0, -1) })],
  [
    'an event changed',
    () => withHistory({ events: evidence.history.events.with(0, (evidence.history.events[0] as string).replace('meter', 'other')) }),
  ],
  ['two events in the other order', () => withHistory({ events: [...evidence.history.events].reverse() })],
  ['another place in the log', () => withHistory({ index: evidence.history.index - 1 })],
  ['a path of another event', () => withHistory({ path: evidence.history.path.with(0, 'ab'.repeat(32)) })],
  ['a path in the map of another root', () => withHistory({ heads: evidence.history.heads.map(() => 'ab'.repeat(32)) })],
  ['the name of another device', () => ({ ...evidence, uid: 'ff'.repeat(16) })],
  ['a checkpoint of another time', () => ({ ...evidence, checkpoint: evidence.checkpoint.replace(/time \d{4}/, 'time 2020') })],
  ['a checkpoint of another size', () => ({ ...evidence, checkpoint: evidence.checkpoint.replace(/\n(\d+)\n/, '\n1$1\n') })],
  ['no certificate of the log', () => ({ ...evidence, logCertificates: [] })],
  [
    'the certificate of a device for that of the log',
    () => ({ ...evidence, logCertificates: [Buffer.from(device.certificate).toString('base64')] }),
  ],
  [
    'a content that is not what its hash says',
    () => ({ ...evidence, blobs: { ...evidence.blobs, [Object.keys(evidence.blobs)[0] as string]: 'AAAA' } }),
  ],
];

describe('a forged evidence file', () => {
  it.each(forgeries)('with %s is not proven', (_, forge) => {
    expect(() => verify(forge())).toThrow(expect.objectContaining({ code: expect.stringMatching(/^(EVIDENCE|CHECKPOINT)_REFUSED$/) }));
  });

  it('whose end was cut off says that the history is not complete, even with a proof of the older event', async () => {
    const events = await project.ctx.store.readStream(`device-${device.uid}`);
    const older = events.at(-2);
    const path = [...(await project.ctx.store.tree.inclusion(older?.position ?? 0, verify(evidence).size))];
    const cut = withHistory({ events: evidence.history.events.slice(0, -1), index: (older?.position ?? 0) - 1, path });
    expect(() => verify(cut)).toThrow(refused('not shown to be complete'));
    expect(inPython(cut)).toMatchObject({ status: 1, text: expect.stringContaining('something came later') });
  });

  it('under the root of another project is not proven', async () => {
    const other = await openProject();
    const foreign = [rootDer(await authorityOf(other.ctx))];
    await other.close();
    expect(() => verify(evidence, foreign)).toThrow(refused('no trusted root'));
  });

  it.each([
    ['no JSON', '{'],
    ['another format', JSON.stringify({ format: 'nusec-evidence/2' })],
    ['nothing', '{}'],
  ])('that is %s is malformed', (_, text) => {
    expect(() => verifyEvidence(text, roots)).toThrow(expect.objectContaining({ code: 'EVIDENCE_MALFORMED' }));
  });
});

describe('examples/verify_evidence.py, which has no code of the product', () => {
  it('proves the same file', () => {
    expect(inPython(evidence)).toMatchObject({
      status: 0,
      text: expect.stringContaining(`${evidence.history.events.length} events of device ${device.uid}`),
    });
  });

  it.each(forgeries)('does not prove it with %s, and says so in one line', (_, forge) => {
    expect(inPython(forge())).toEqual({ status: 1, text: expect.stringMatching(/^NOT PROVEN: [^\n]+\n$/) });
  });

  it.each([
    ['another format', { format: 'nusec-evidence/2' }],
    ['nothing', {}],
  ])('names a file with %s as such', (_, file) => {
    expect(inPython(file as Evidence)).toEqual({ status: 1, text: expect.stringMatching(/^NOT PROVEN: not an evidence file[^\n]+\n$/) });
  });
});
