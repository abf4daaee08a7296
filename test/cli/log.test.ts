import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { programFor } from '../../src/cli/program.ts';
import { readCheckpoint } from '../../src/merkle/checkpoint.ts';
import { parseNote } from '../../src/merkle/note.ts';
import { verifyConsistency } from '../../src/merkle/proofs.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { type Fleet, people, seedFleet } from '../gateway/fieldKit.ts';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { pythonWith } from '../support/python.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What an auditor does with the log of a real server: follow, export, verify what was exported without the server. */

let server: TestServer;
let folder: string;
let fleet: Fleet;
let toServer: readonly string[];
let lines: readonly string[];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nusec-audit-'));
  let token = '';
  server = await startTestServer(async ctx => {
    fleet = await seedFleet(ctx, 6);
    token = await addOperator(ctx, 'aldo', ['auditor'], 'operator:alice');
  });
  writeFileSync(join(folder, 'root.pem'), server.rootPem);
  writeFileSync(join(folder, 'token'), token);
  toServer = ['--server', server.url, '--ca', join(folder, 'root.pem'), '--token-file', join(folder, 'token')];
  await nusec('log', 'export', ...toServer, '--out', join(folder, 'log.jsonl'));
  lines = linesOf('log.jsonl');
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const linesOf = (name: string): readonly string[] => readFileSync(join(folder, name), 'utf8').trimEnd().split('\n');

/** Runs a command in this process. @returns what it prints */
async function nusec(...args: readonly string[]): Promise<string> {
  let out = '';
  const spy = vi.spyOn(process.stdout, 'write').mockImplementation(text => {
    out += text;
    return true;
  });
  try {
    await (await programFor(args[0] ?? '')).parseAsync(args, { from: 'user' });
    return out;
  } finally {
    spy.mockRestore();
  }
}

async function verified(content: readonly string[]): Promise<Record<string, unknown>> {
  const file = join(folder, 'checked.jsonl');
  writeFileSync(file, `${content.join('\n')}\n`);
  return JSON.parse(await nusec('verify', file, '--trust', join(folder, 'root.pem'), '--json'));
}
const exported = async (...options: readonly string[]): Promise<readonly string[]> => {
  await nusec('log', 'export', ...toServer, '--out', join(folder, 'some.jsonl'), ...options);
  return linesOf('some.jsonl');
};
const fieldsOf = (line: string | undefined) => JSON.parse(line ?? '') as Record<string, unknown>;
const changed = (line: string | undefined, change: Record<string, unknown>): string => JSON.stringify({ ...fieldsOf(line), ...change });

describe('an exported log', () => {
  it('proves by the root certificate alone that it has every event up to its checkpoint (T18)', async () => {
    covers('T18');
    const events = lines.length - 2;
    expect(await verified(lines)).toMatchObject({ events, size: events, after: 0 });
    expect(lines.slice(1, -1).map(line => fieldsOf(line).position)).toEqual(Array.from({ length: events }, (_, i) => i + 1));
  });

  it('may begin behind what an auditor has already', async () => {
    for (const after of [1, 7, 20]) {
      const later = await exported('--after', String(after));
      expect(await verified(later)).toMatchObject({ after, events: later.length - 2 });
      expect(fieldsOf(later[1])).toMatchObject({ position: after + 1 });
    }
  });

  it('of what fits a filter proves each event by itself, and does not claim to be complete', async () => {
    const minted = await exported('--type', 'DeviceMinted', 'OperatorAdded');
    expect(new Set(minted.slice(1, -1).map(line => fieldsOf(line).type))).toEqual(new Set(['DeviceMinted', 'OperatorAdded']));
    expect(await verified(minted)).toMatchObject({ events: minted.length - 2, filter: { types: ['DeviceMinted', 'OperatorAdded'] } });
    const ofDevices = await exported('--stream', 'device-*', '--by', 'system:*', 'programmer:*', 'operator:*');
    expect(ofDevices.length).toBeGreaterThan(2);
    expect(await verified(ofDevices)).toMatchObject({ events: ofDevices.length - 2 });
  });

  const at = 10;
  it.each<[what: string, forge: () => readonly string[]]>([
    ['the content of an event changed', () => lines.with(at, changed(lines[at], { by: 'operator:mallory' }))],
    ['a hash made to fit', () => lines.with(at, changed(lines[at], { hash: 'ab'.repeat(32) }))],
    ['an event left out', () => lines.toSpliced(at, 1)],
    ['an event left out, the positions closed', () => renumbered(lines.toSpliced(at, 1))],
    ['two events in the other order', () => renumbered(lines.with(at, lines[at + 1] ?? '').with(at + 1, lines[at] ?? ''))],
    ['an event twice', () => renumbered(lines.toSpliced(at, 0, lines[at] ?? ''))],
    ['the end cut off', () => lines.slice(0, -4)],
    ['the end cut off, the last line kept', () => [...lines.slice(0, -4), lines.at(-1) ?? '']],
    ['another root', () => lines.with(0, changed(lines[0], { root: 'ab'.repeat(32) }))],
    ['a smaller size', () => lines.with(0, changed(lines[0], { size: lines.length - 3 }))],
    ['another count', () => lines.with(-1, changed(lines.at(-1), { events: lines.length - 3 }))],
    ['no certificate of the log', () => lines.with(-1, changed(lines.at(-1), { logCertificates: [] }))],
    ['nothing', () => []],
    ['no events', () => [lines[0] ?? '', lines.at(-1) ?? '']],
  ])('with %s is not proven', async (_, forge) => {
    const refusal = { code: expect.stringMatching(/^(EVIDENCE|CHECKPOINT)_(REFUSED|MALFORMED)$/) };
    await expect(verified(forge())).rejects.toMatchObject(refusal);
  });

  it('of chosen events with one changed, or one that does not fit, is not proven', async () => {
    const minted = await exported('--type', 'DeviceMinted');
    await expect(verified(minted.with(1, changed(minted[1], { at: '2020-01-01T00:00:00.000Z' })))).rejects.toMatchObject({
      code: 'EVIDENCE_REFUSED',
    });
    await expect(verified(minted.with(1, minted[2] ?? ''))).rejects.toMatchObject({ code: 'EVIDENCE_REFUSED' });
    const narrower = { filter: { types: ['OperatorAdded'] } };
    await expect(verified(minted.with(0, changed(minted[0], narrower)))).rejects.toMatchObject({
      message: expect.stringContaining('does not fit'),
    });
  });
});

function renumbered(content: readonly string[]): readonly string[] {
  return content.map((line, i) => (i === 0 || i === content.length - 1 ? line : changed(line, { position: i })));
}

describe('the evidence of a device', () => {
  it('is exported by the command, and proven by it and by the reader in Python (T18, T19)', async () => {
    const { uid } = fleet.units[2] as Fleet['units'][number];
    const file = join(folder, 'evidence.json');
    await nusec('evidence', 'export', uid, ...toServer, '--out', file);
    const proven = JSON.parse(await nusec('verify', file, '--trust', join(folder, 'root.pem'), '--json'));
    expect(proven).toMatchObject({ uid, events: expect.arrayContaining([expect.objectContaining({ type: 'DeviceMinted' })]) });
    const script = new URL('../../examples/verify_evidence.py', import.meta.url).pathname;
    const { stdout, stderr } = spawnSync(pythonWith('cryptography') ?? 'python3', [script, file, join(folder, 'root.pem')], {
      encoding: 'utf8',
    });
    expect(stdout + stderr).toContain(`proven: ${proven.events.length} events of device ${uid}`);
  });
});

describe('nusec log tail', () => {
  it('prints the newest events that fit', async () => {
    const all = (await nusec('log', 'tail', ...toServer, '--lines', '5', '--json')).trimEnd().split('\n').map(fieldsOf);
    expect(all).toHaveLength(5);
    const text = await nusec('log', 'tail', ...toServer, '--lines', '2', '--type', 'DeviceMinted');
    expect(
      text
        .trimEnd()
        .split('\n')
        .map(line => line.trim().split(/\s+/)[2]),
    ).toEqual(['DeviceMinted', 'DeviceMinted']);
  });

  it('follows: an event that comes is printed', async () => {
    const command = startCommand(['log', 'tail', ...toServer, '--follow', '--lines', '0', '--json', '--type', 'OperatorAdded']);
    const alice = people(server);
    // Until the follower has begun, one after the other.
    let added = 0;
    const line = await Promise.race([
      command.ready,
      (async () => {
        for (; added < 20; added++) {
          await alice.json('POST', '/v1/operators', { name: `eve${added}`, roles: ['auditor'] });
          await new Promise(resolve => setTimeout(resolve, 1000));
        }
      })(),
    ]);
    expect(line).toMatchObject({ type: 'OperatorAdded', stream: 'operators' });
    command.kill('SIGTERM');
    await command.ended();
    alice.close();
  });
});

describe('checkpoints on demand', () => {
  it('cover whatever was stored before, and each proves to begin with the one before', async () => {
    const alice = people(server);
    const notes: ReturnType<typeof readCheckpoint>[] = [];
    for (let i = 0; i < 3; i++) {
      await alice.json('POST', '/v1/operators', { name: `ann${i}`, roles: ['auditor'] });
      const { head } = await alice.json<{ head: number }>('GET', '/v1/log/entries?limit=1');
      notes.push(readCheckpoint(parseNote(await nusec('log', 'checkpoint', ...toServer)).text));
      expect(notes.at(-1)?.size).toBeGreaterThanOrEqual(head);
    }
    const [first, , last] = notes as [ReturnType<typeof readCheckpoint>, unknown, ReturnType<typeof readCheckpoint>];
    const path = `/v1/log/consistency?first=${first.size}&second=${last.size}`;
    const { proof } = await alice.json<{ proof: string[] }>('GET', path);
    expect(verifyConsistency(first.size, first.root, last.size, last.root, proof)).toBe(true);
    alice.close();
  });
});
