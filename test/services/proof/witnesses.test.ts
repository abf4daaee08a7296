import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyEvidence } from '../../../src/evidence/verify.ts';
import { readCheckpoint } from '../../../src/merkle/checkpoint.ts';
import { readWitnessKey } from '../../../src/merkle/cosignature.ts';
import { type NoteKey, parseNote, verifiedBy } from '../../../src/merkle/note.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { type Checkpoints, keepCheckpoints } from '../../../src/services/proof/checkpoints.ts';
import { createDeviceEvidence } from '../../../src/services/proof/deviceEvidence.ts';
import { logNoteKey, logVerifierKey } from '../../../src/services/proof/logKey.ts';
import { cosignedFile, cosignedFolder } from '../../../src/services/proof/witness.ts';
import { startWitnesses, type Witnesses, type WitnessPace } from '../../../src/services/proof/witnesses.ts';
import { requireSecureUrl } from '../../../src/services/proof/witnessHttp.ts';
import { temporaryFolder } from '../../eventstore/support.ts';
import { covers } from '../../support/covers.ts';
import { openProject, type Project } from '../project.ts';

/** Witnesses as processes of their own, which keep to the specification or do not, and the checkpoints of a real project. */

const double = fileURLToPath(new URL('./witnessDouble.ts', import.meta.url));
const pace: WitnessPace = { pauseMs: 20, maxPauseMs: 200, alarmEveryMs: 3_600_000 };

let project: Project;
let file: string;
const running: ChildProcess[] = [];
beforeEach(async () => {
  project = await openProject();
  file = join(project.dataDir, 'log.checkpoint');
});
afterEach(async () => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
  await project.close();
});

type Double = { readonly url: string; readonly key: string; readonly note: NoteKey; stop(): Promise<void> };
async function startDouble(mode = 'honest', stateFile = join(temporaryFolder(), 'state.json'), port = 0): Promise<Double> {
  const { verifierKey } = await logVerifierKey(project.ctx);
  const args = [double, 'witness.example/w1', stateFile, verifierKey, mode, String(port)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  running.push(child);
  const [line] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer];
  const ready = JSON.parse(line.toString()) as { port: number; key: string };
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  return { url: `http://127.0.0.1:${ready.port}/w`, key: ready.key, note: readWitnessKey(ready.key), stop };
}

async function keep(witnesses: Witnesses, ctx: Context = project.ctx): Promise<Checkpoints> {
  return keepCheckpoints({ ...project, ctx }, { file }, witnesses.offer);
}
const start = (...settings: { url: string; key?: string; caFile?: string }[]): Witnesses =>
  startWitnesses(project, settings, project.dataDir, pace);
const append = (): Promise<unknown> => project.alarms.raise({ code: 'TEST', subject: `s-${Math.random()}`, detail: 'an event' });
const alarms = async (code: string): Promise<readonly string[]> =>
  (await project.eventsOf('AlarmRaised')).filter(({ data }) => data.code === code).map(({ data }) => String(data.detail));
/** The newest checkpoint that a witness has cosigned, when its signature is valid. */
const cosigned = ({ note: key }: Double): number => {
  const path = cosignedFile(project.dataDir, key.keyIdHex);
  if (!existsSync(path)) return 0;
  const note = parseNote(readFileSync(path, 'utf8'));
  return verifiedBy(note, [key]).length === 1 ? readCheckpoint(note.text).size : 0;
};

describe('a witness that keeps to the specification (T18, T34)', () => {
  it('cosigns each checkpoint, with the consistency from the one before', async () => {
    covers('T18', 'T34');
    const witness = await startDouble();
    const witnesses = start(witness);
    const checkpoints = await keep(witnesses);
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 3; j++) await append();
      await checkpoints.sign();
      const head = await project.ctx.store.head();
      await expect.poll(() => cosigned(witness)).toBeGreaterThanOrEqual(head);
    }
    expect(await alarms('WITNESS')).toEqual([]);
    const note = parseNote(readFileSync(cosignedFile(project.dataDir, witness.note.keyIdHex), 'utf8'));
    expect(verifiedBy(note, [await logNoteKey(project.ctx)])).toHaveLength(1);
    await checkpoints.close();
    await witnesses.close();
  });

  it('is in the evidence of a device: whoever trusts it sees that it has signed this log', async () => {
    const witness = await startDouble();
    const other = await startDouble();
    const headsFile = join(project.dataDir, 'heads.db');
    const witnesses = start(witness);
    const checkpoints = await keepCheckpoints(project, { file, headsFile }, witnesses.offer);
    const { uid } = await project.newDevice();
    const head = await project.ctx.store.head();
    await expect.poll(() => cosigned(witness)).toBeGreaterThanOrEqual(head);
    await append();
    const exporter = createDeviceEvidence(project.ctx, headsFile, cosignedFolder(project.dataDir));
    const evidence = await exporter.export(uid);
    const roots = [rootDer(await authorityOf(project.ctx))];
    const proven = verifyEvidence(JSON.stringify(evidence), roots, [witness.note]);
    expect(proven.witnesses).toEqual([{ name: 'witness.example/w1', size: expect.any(Number), time: expect.any(String) }]);
    const refused = expect.objectContaining({ code: 'EVIDENCE_REFUSED' });
    expect(() => verifyEvidence(JSON.stringify(evidence), roots, [witness.note, other.note])).toThrow(refused);
    const [seen] = evidence.witnessed ?? [];
    for (const witnessed of [[], [{ note: seen?.note ?? '', consistency: ['ab'.repeat(32)] }]])
      expect(() => verifyEvidence(JSON.stringify({ ...evidence, witnessed }), roots, [witness.note])).toThrow(refused);
    await exporter.close();
    await checkpoints.close();
    await witnesses.close();
  });

  it('gets the last checkpoint when the process stops', async () => {
    const witness = await startDouble();
    const witnesses = startWitnesses(project, [witness], project.dataDir, { ...pace, pauseMs: 60_000 });
    const checkpoints = await keep(witnesses);
    await checkpoints.sign();
    await expect.poll(() => cosigned(witness)).toBeGreaterThan(0);
    await append();
    await checkpoints.close();
    await witnesses.close();
    expect(cosigned(witness)).toBe(readCheckpoint(parseNote(readFileSync(file, 'utf8')).text).size);
  });

  it('that remembers more than the server does is asked where it is', async () => {
    const witness = await startDouble();
    const first = start(witness);
    const checkpoints = await keep(first);
    await checkpoints.sign();
    await expect.poll(() => cosigned(witness)).toBeGreaterThan(0);
    await checkpoints.close();
    await first.close();
    rmSync(cosignedFile(project.dataDir, witness.note.keyIdHex));
    await append();
    const second = start(witness);
    const later = await keep(second);
    const head = await project.ctx.store.head();
    await later.sign();
    await expect.poll(() => cosigned(witness)).toBeGreaterThanOrEqual(head);
    expect(await alarms('WITNESS')).toEqual([]);
    await later.close();
    await second.close();
  });

  it('that is away is an alarm, holds nothing up, and gets the newest checkpoint when it is back', async () => {
    const stateFile = join(temporaryFolder(), 'state.json');
    const witness = await startDouble('honest', stateFile);
    await witness.stop();
    const witnesses = start(witness);
    const checkpoints = await keep(witnesses);
    await append();
    await checkpoints.sign();
    await expect.poll(() => alarms('WITNESS')).toHaveLength(1);
    const note = await checkpoints.sign();
    expect(readCheckpoint(parseNote(note).text).size).toBeGreaterThan(0);
    await startDouble('honest', stateFile, Number(new URL(witness.url).port));
    await expect.poll(() => cosigned(witness)).toBeGreaterThan(0);
    // One alarm, however often it was tried.
    expect(await alarms('WITNESS')).toHaveLength(1);
    await checkpoints.close();
    await witnesses.close();
  });

  it.each([
    ['has cosigned more than there is: an old backup was put back', 'it is an old backup', { head: true }],
    ['has cosigned another log: it was rewritten', 'does not go on', { root: true }],
  ])('%s', async (_, detail, change) => {
    covers('T34');
    const stateFile = join(temporaryFolder(), 'state.json');
    const witness = await startDouble('honest', stateFile);
    const size = await project.ctx.store.head();
    const seen = {
      ...JSON.parse(readFileSync(stateFile, 'utf8')),
      size: 'head' in change ? size + 50 : size,
      root: Buffer.alloc(32, 7).toString('base64'),
    };
    await witness.stop();
    writeFileSync(stateFile, JSON.stringify(seen));
    const again = await startDouble('honest', stateFile);
    await append();
    const witnesses = start(again);
    const checkpoints = await keep(witnesses);
    await checkpoints.sign();
    await expect.poll(async () => (await alarms('WITNESS_CONFLICT')).join()).toContain(detail);
    expect(cosigned(again)).toBe(0);
    await checkpoints.close();
    await witnesses.close();
  });
});

describe('a witness that does not keep to the specification', () => {
  it.each([
    ['otherKey', 'has not answered with its cosignature'],
    ['future', 'has not answered with its cosignature'],
    ['busy', 'answers 503'],
    ['endless', 'more than'],
  ])('%s: is an alarm, and nothing of it is kept', async (mode, detail) => {
    const witness = await startDouble(mode);
    const witnesses = start(witness);
    const checkpoints = await keep(witnesses);
    await checkpoints.sign();
    await expect.poll(async () => (await alarms('WITNESS')).join()).toContain(detail);
    expect(cosigned(witness)).toBe(0);
    await checkpoints.close();
    await witnesses.close();
  });

  it('silent: does not hold the stop up for long', async () => {
    const witness = await startDouble('silent');
    const witnesses = start(witness);
    const checkpoints = await keep(witnesses);
    await checkpoints.sign();
    await checkpoints.close();
    await witnesses.close();
    expect(cosigned(witness)).toBe(0);
  });
});

describe('an endpoint that only keeps', () => {
  it('gets each checkpoint by PUT', async () => {
    const put: string[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', chunk => {
        body += chunk;
      });
      request.on('end', () => {
        put.push(`${request.method} ${body}`);
        response.writeHead(204).end();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const witnesses = start({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/checkpoint` });
    const checkpoints = await keep(witnesses);
    const note = await checkpoints.sign();
    await expect.poll(() => put).toContain(`PUT ${note}`);
    await checkpoints.close();
    await witnesses.close();
    server.close();
  });

  it('over TLS counts by the authority that is named for it, and by no other', async () => {
    const folder = temporaryFolder();
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const made = ['-x509', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', key, '-out', cert, '-days', '2'];
    execFileSync('openssl', ['req', ...made, ...subject], { stdio: 'pipe' });
    const put: string[] = [];
    const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
      put.push(String(request.method));
      request.resume().on('end', () => response.writeHead(204).end());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `https://localhost:${(server.address() as AddressInfo).port}/checkpoint`;
    const checkpoints = await keep({ offer: () => {}, close: async () => {} });
    const note = await checkpoints.sign();
    const stranger = start({ url });
    stranger.offer(note);
    await expect.poll(async () => (await alarms('WITNESS')).join()).toContain('certificate');
    expect(put).toEqual([]);
    const known = start({ url, caFile: cert });
    known.offer(note);
    await expect.poll(() => put).toEqual(['PUT']);
    await checkpoints.close();
    await stranger.close();
    await known.close();
    server.close();
  });

  it('is reached by https, or is on this machine', () => {
    for (const url of ['https://witness.example/w', 'http://localhost:1/', 'http://127.0.0.1:1/', 'http://[::1]:1/']) requireSecureUrl(url);
    for (const url of ['http://witness.example/w', 'ftp://localhost/'])
      expect(() => requireSecureUrl(url)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });
});
