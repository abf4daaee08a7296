import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { generateApi } from 'swagger-typescript-api';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { concat, fromHex, toBase64url } from '../../src/bytes.ts';
import { programFor } from '../../src/cli/program.ts';
import { readSettings } from '../../src/config.ts';
import { type RunningServer, startServer } from '../../src/main.ts';
import { toPem } from '../../src/pki/pem.ts';
import { initialiseProject } from '../../src/services/administration/initialise.ts';
import { authorityOf, rootDer } from '../../src/services/authority/authority.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { agreeKek, lockedProgrammer, newParty } from '../services/parties.ts';
import { Chip, TestProgrammer } from '../services/production/factory.ts';
import type { Body, Site } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { httpSite, type Machine } from './httpSite.ts';

const run = promisify(execFile);

/** The whole server as a process runs it: TLS 1.3, client certificates, the `nusec` command. */
const dataDir = mkdtempSync(join(tmpdir(), 'nusec-mtls-'));
const tokens = new Map<string, string>();
const clients: { close(): void }[] = [];
let server: RunningServer;
let ca = '';

beforeAll(async () => {
  const settings = { ...readSettings(dataDir, { NUSEC_LOG_LEVEL: 'silent' }), httpsPort: 0, mqttPort: 0, crlPort: 0 };
  const opened = await openContext(settings, { https: 0, crl: 0 }, true);
  const ceremony = await initialiseProject(opened.ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  for (const { name, token } of ceremony.tokens) tokens.set(name, token);
  ca = toPem('CERTIFICATE', rootDer(await authorityOf(opened.ctx)));
  await opened.close();
  server = await startServer(settings);
});
afterAll(async () => {
  for (const client of clients) client.close();
  await server.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const _open = (options: object): HttpClient => {
  const client = createHttpClient({ baseUrl: `https://localhost:${server.httpsPort}`, ca, ...options });
  clients.push(client);
  return client;
};

function site(machine?: Machine): Site {
  const one = httpSite(
    { url: `https://localhost:${server.httpsPort}`, rootPem: ca },
    tokens,
    who => (who === 'bob' ? 'bob' : 'alice'),
    machine,
  );
  clients.push(one);
  return one;
}

/** Runs `nusec …` in this process and reads what it prints with --json. */
async function nusec(who: string, ...args: string[]): Promise<Body> {
  const caFile = join(dataDir, 'root.pem');
  const tokenFile = join(dataDir, `${who}.token`);
  writeFileSync(caFile, ca);
  writeFileSync(tokenFile, tokens.get(who) ?? '');
  const program = await programFor(args[0] ?? '');
  let printed = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(text => {
    printed += String(text);
    return true;
  });
  try {
    const url = `https://localhost:${server.httpsPort}`;
    await program.parseAsync([...args, '--server', url, '--ca', caFile, '--token-file', tokenFile, '--json'], { from: 'user' });
  } finally {
    write.mockRestore();
  }
  return JSON.parse(printed);
}

describe('a factory over mutual TLS', () => {
  it('from the first command to the reconciled job (R59, R60, R71, R80, R82, R83)', async () => {
    covers('R59', 'R60', 'R71', 'R80', 'R82', 'R83');
    await nusec('alice', 'line', 'create', 'meter', '--rollback-floor', '2');
    const releases: string[] = [];
    for (const [image, version] of [
      ['bl2', '1.0.0'],
      ['app', '2.0.0'],
    ] as const) {
      const file = join(dataDir, `${image}.bin`);
      writeFileSync(file, randomBytes(4000));
      const query = ['--line', 'meter', '--image', image, '--version', version, '--counter', '3'];
      const { releaseId } = await nusec('alice', 'release', 'upload', file, ...query);
      await nusec('bob', 'release', 'approve', releaseId);
      await nusec('alice', 'release', 'publish', releaseId);
      releases.push(releaseId);
    }
    expect(await nusec('alice', 'release', 'list', '--line', 'meter')).toHaveLength(2);
    const { jobId } = await nusec('alice', 'job', 'create', '--line', 'meter', '--count', '5', '--scrap', '1');
    await nusec('alice', 'job', 'bind', jobId, ...releases);
    const chip = new Chip();
    const list = join(dataDir, 'uids.txt');
    writeFileSync(list, `# lot 7\n${chip.party.uid}\n`);
    expect(await nusec('alice', 'job', 'uids', jobId, list)).toMatchObject({ uidCount: 1 });
    expect(await nusec('bob', 'job', 'release', jobId)).toMatchObject({ status: 'RELEASED' });

    const prepared = await lockedProgrammer(site());
    const keyPem = prepared.key.export({ format: 'pem', type: 'pkcs8' }) as string;
    const plant = site({ certificate: prepared.certificate, keyPem });
    const builder = new TestProgrammer(plant, prepared, await agreeKek(plant, prepared));
    await plant.ask('alice', 'POST', `/v1/programmers/${prepared.uid}/ship`, { to: 'CM' });
    await plant.ask(prepared.certificate, 'POST', `/v1/programmers/${prepared.uid}/check-in`);
    await nusec('alice', 'job', 'allot', jobId, '--programmer', prepared.uid, '--count', '5');
    const file = join(dataDir, 'meter.njp');
    await nusec('alice', 'job', 'export', jobId, '--programmer', prepared.uid, '--out', file);
    await builder.begin(jobId, 5);
    expect(await builder.open(new Uint8Array(readFileSync(file)))).toEqual(builder.payload);
    await builder.build(chip);
    await builder.zeroise();

    expect(await nusec('alice', 'job', 'status', jobId)).toMatchObject({
      ...{ plannedCount: 5, committed: 1, voided: 0, yield: 1, bl2Version: '1.0.0', appVersion: '2.0.0' },
      byProgrammer: [{ programmer: prepared.uid, committed: 1, yield: 1, reasons: [] }],
      units: [{ uid: chip.party.uid, objId: chip.objId, status: 'COMMITTED', bl2Version: '1.0.0', appVersion: '2.0.0' }],
    });
    const csv = join(dataDir, 'units.csv');
    await nusec('alice', 'job', 'status', jobId, '--out', csv);
    expect(readFileSync(csv, 'utf8')).toMatch(new RegExp(`${chip.party.uid},${chip.objId},COMMITTED,2.0.0`));
    expect(await nusec('alice', 'job', 'close', jobId, '--yes')).toMatchObject({ status: 'RECONCILED', verdict: 'clean' });
    expect(JSON.parse((await nusec('bob', 'job', 'reconciliation', jobId)).report)).toMatchObject({ verdict: 'clean', plannedCount: 5 });
    expect(await nusec('alice', 'job', 'list', '--status', 'RECONCILED')).toHaveLength(1);
    expect(await nusec('alice', 'job', 'show', jobId)).toMatchObject({ board: [{ committed: 1, status: 'CLOSED' }] });
  });

  it('is closed to certificates that are not ours, and to a stolen programmer on its open connection (RULE-9, T15)', async () => {
    covers('RULE-9', 'T15');
    const prepared = await lockedProgrammer(site());
    const keyPem = prepared.key.export({ format: 'pem', type: 'pkcs8' }) as string;
    const plant = site({ certificate: prepared.certificate, keyPem });
    const checkIn = `/v1/programmers/${prepared.uid}/check-in`;
    expect(await plant.code(prepared.certificate, 'POST', checkIn)).toBe('PROGRAMMER_NOT_ACTIVE');
    await plant.ask('alice', 'POST', `/v1/programmers/${prepared.uid}/stolen`, {});
    // Either the request is refused or, when the server was faster, the whole connection.
    const refusals = ['CERTIFICATE_REVOKED', 'SERVER_UNREACHABLE'];
    expect(refusals).toContain(await plant.code(prepared.certificate, 'POST', checkIn));
    const again = site({ certificate: prepared.certificate, keyPem });
    expect(refusals).toContain(await again.code(prepared.certificate, 'POST', checkIn));
    expect(await plant.code('alice', 'POST', checkIn)).toBe('CLIENT_CERTIFICATE_REQUIRED');
    const stranger = newParty();
    const kek = { publicKey: toBase64url(stranger.spki.slice(-65)), nonce: toBase64url(concat(fromHex(stranger.uid))) };
    expect(await site().code('alice', 'POST', `/v1/programmers/${prepared.uid}/kek`, kek)).toBe('CLIENT_CERTIFICATE_REQUIRED');
  });
});

describe('a client that another tool has generated from the description of the API', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-client-'));
  const modules = join(import.meta.dirname, '../../node_modules');
  const flow = async (...args: readonly string[]): Promise<Body> => {
    const caFile = join(dataDir, 'root.pem');
    writeFileSync(caFile, ca);
    const own = { NODE_EXTRA_CA_CERTS: caFile, NUSEC_SERVER: `https://localhost:${server.httpsPort}` };
    const env = { ...process.env, ...own, FIRMWARE: join(dataDir, 'app.bin'), ALICE: tokens.get('alice'), BOB: tokens.get('bob') };
    return JSON.parse((await run(process.execPath, [join(folder, 'js/flow.js'), ...args], { env })).stdout);
  };

  beforeAll(async () => {
    const { text } = await exchange(`https://localhost:${server.httpsPort}/openapi.json`, { ca });
    writeFileSync(join(folder, 'openapi.json'), text);
    await generateApi({
      ...{ input: join(folder, 'openapi.json'), output: folder, fileName: 'api.ts' },
      ...{ httpClientType: 'fetch', singleHttpClient: true, silent: true },
    });
    copyFileSync(join(import.meta.dirname, 'generatedClient/flow.ts.txt'), join(folder, 'flow.ts'));
    const compilerOptions = {
      ...{ strict: true, noUncheckedIndexedAccess: true, skipLibCheck: true, rewriteRelativeImportExtensions: true, outDir: 'js' },
      ...{ target: 'es2023', module: 'nodenext', lib: ['es2023', 'dom', 'dom.iterable'] },
      ...{ types: ['node'], typeRoots: [join(modules, '@types')] },
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  it('type-checks a production flow, and knows the codes of refusals', async () => {
    const compile = () => run(join(modules, '.bin/tsc'), ['-p', join(folder, 'tsconfig.json')]);
    await compile();
    const right = readFileSync(join(folder, 'flow.ts'), 'utf8');
    for (const [word, wrong] of [
      ['plannedCount: 5', "plannedCount: '5'"],
      ['closed.verdict', 'closed.verdikt'],
      ["image: 'bl2' | 'app'", 'image: string'],
    ] as const) {
      writeFileSync(join(folder, 'flow.ts'), right.replace(word, wrong));
      await expect(compile(), wrong).rejects.toMatchObject({ stdout: expect.stringContaining('flow.ts') });
    }
    writeFileSync(join(folder, 'flow.ts'), right);
    await compile();
  });

  it('runs it, from the line to the reconciled job', async () => {
    const chip = new Chip();
    const { jobId, status, refused } = await flow('plan', chip.party.uid);
    expect({ status, refused }).toEqual({ status: 'RELEASED', refused: 'FOUR_EYES_REQUIRED' });
    const prepared = await lockedProgrammer(site());
    const keyPem = prepared.key.export({ format: 'pem', type: 'pkcs8' }) as string;
    const plant = site({ certificate: prepared.certificate, keyPem });
    const builder = new TestProgrammer(plant, prepared, await agreeKek(plant, prepared));
    await plant.ask('alice', 'POST', `/v1/programmers/${prepared.uid}/ship`, { to: 'CM' });
    await plant.ask(prepared.certificate, 'POST', `/v1/programmers/${prepared.uid}/check-in`);
    const file = join(dataDir, 'lamp.njp');
    await flow('share', jobId, prepared.uid, file);
    await builder.begin(jobId, 5);
    expect(await builder.open(new Uint8Array(readFileSync(file)))).toEqual(builder.payload);
    await builder.build(chip);
    await builder.zeroise();
    expect(await flow('finish', jobId)).toMatchObject({ committed: 1, yield: 1, status: 'RECONCILED', verdict: 'clean' });
  });
});
