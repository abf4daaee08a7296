import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { newEvent } from '../../src/eventstore/recorded.ts';
import { toPem } from '../../src/pki/pem.ts';
import type { Context } from '../../src/services/base/context.ts';
import { startRevocations } from '../../src/services/revocation/revocations.ts';
import { revokeDevice } from '../../src/services/revocation/revokeDevice.ts';
import { connectDevice, eventually, type Fleet, people, seedFleet, type Unit } from '../gateway/fieldKit.ts';
import { codeOf } from '../pki/support.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { limitOfProcesses } from '../support/limits.ts';
import { ocspStatus } from '../support/openssl.ts';
import { type ServerProcess, startServerProcesses } from '../support/server.ts';

/** A server whose read models are gone, at a log that takes a while to be read. */

const otherEvents = 60_000;
let fleet: Fleet;
let group: Awaited<ReturnType<typeof startServerProcesses>>;

beforeAll(async () => {
  group = await startServerProcesses(0, async ctx => {
    fleet = await seedFleet(ctx, 3);
    await fill(ctx);
    const revocations = await startRevocations(ctx);
    await revokeDevice(ctx, revocations, (fleet.units[0] as Unit).uid, 'keyCompromise', 'operator:alice');
    await revocations.close();
  });
}, limitOfProcesses(6));
afterAll(() => group?.close());

/** Events that each read model looks at. */
async function fill(ctx: Context): Promise<void> {
  const event = () =>
    newEvent(
      'AlarmRaised',
      { code: 'TEST', subject: 'x', detail: 'y' },
      { id: ctx.newId(), at: ctx.clock().toISOString(), by: 'system:test' },
    );
  for (let done = 0; done < otherEvents; done += 1000) await ctx.store.append('alarm-x', 'any', Array.from({ length: 1000 }, event));
}

/** Holds the read models as soon as they are being built. @returns what lets them go on */
async function holdReadModels(file: string): Promise<() => void> {
  while (!existsSync(file)) await sleep(5);
  const db = new Database(file, { timeout: 60_000 });
  const begun = db.prepare<number>("SELECT count(*) FROM sqlite_master WHERE name = 'projection_position'").pluck();
  while (begun.get() === 0) await sleep(5);
  const position = db.prepare<number>('SELECT position FROM projection_position').pluck();
  while (position.get() === 0) await sleep(5);
  db.exec('BEGIN IMMEDIATE');
  expect(position.get()).toBeLessThan(otherEvents);
  return () => db.close();
}

const requestAs = (server: ServerProcess, { key, certificate, ica }: Unit) =>
  exchange(`${server.url}/.well-known/est/ldevid/simpleenroll`, {
    ca: server.rootPem,
    key: key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    cert: toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica),
    body: '',
  });

/** OCSPResponse with responseStatus tryLater (RFC 6960 §4.2.1). */
const tryLater = '30030a0103';
const ocspAnswer = async ({ crlPort }: ServerProcess): Promise<string> => {
  const headers = { 'Content-Type': 'application/ocsp-request' };
  const answer = await fetch(`http://127.0.0.1:${crlPort}/ocsp`, { method: 'POST', headers, body: new Uint8Array([0x30, 0x00]) });
  return Buffer.from(await answer.arrayBuffer()).toString('hex');
};

it(
  'a server whose read models are built anew listens, lets nobody in whose revocation it does not know, and misses none (T23, I14)',
  async () => {
    covers('T23', 'I14');
    const [revoked, good, ending] = fleet.units as readonly [Unit, Unit, Unit];
    const views = join(group.dataDir, 'views.db');
    for (const suffix of ['', '-wal', '-shm']) rmSync(views + suffix, { force: true });
    const holding = holdReadModels(views);
    const server = await group.startOne();
    const letGo = await holding;
    const http = people(server);
    onTestFinished(() => http.close());

    const ready = () => exchange(`${server.url}/readyz`, { ca: server.rootPem });
    expect(await ready()).toMatchObject({
      status: 503,
      text: expect.stringContaining('revocations: stopped, it waits for read models that are being built'),
    });
    for (const unit of [revoked, good])
      expect(await requestAs(server, unit)).toMatchObject({ status: 503, json: { code: 'PROJECTION_BEHIND' } });
    expect(await codeOf(() => http.json('GET', '/v1/devices'))).toBe('PROJECTION_BEHIND');
    expect(await ocspAnswer(server)).toBe(tryLater);
    let isConnected = false;
    const connecting = connectDevice(server, good).then(device => {
      isConnected = true;
      onTestFinished(() => device.close());
    });
    // People are not held up, and what they decide is decided.
    expect(await http.json('POST', `/v1/devices/${ending.uid}/revoke`, { reason: 'keyCompromise' })).toMatchObject({ status: 'REVOKED' });

    expect(isConnected).toBe(false);

    letGo();
    await eventually(async () => (await ready()).status === 200);
    // What waits for a read model that is built is no trouble; the file was held, which is one.
    expect(await http.json('GET', '/v1/alarms?subject=follower-webhooks')).toMatchObject({ alarms: [] });
    for (const unit of [revoked, ending]) {
      expect(await requestAs(server, unit)).toMatchObject({ status: 403, json: { code: 'CERTIFICATE_REVOKED' } });
      expect(await ocspStatus(server.crlPort, unit)).toMatch(/revoked/);
    }
    expect(await requestAs(server, good)).toMatchObject({ status: 400 });
    await connecting;
  },
  limitOfProcesses(6),
);
