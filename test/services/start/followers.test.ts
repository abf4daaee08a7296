import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createApi } from '../../../src/api/app.ts';
import { createAuth } from '../../../src/api/auth.ts';
import { systemResource } from '../../../src/api/system.ts';
import { fromBase64url } from '../../../src/bytes.ts';
import { readSettings } from '../../../src/config.ts';
import { deviceStream } from '../../../src/domain/device.ts';
import { createFollowers, type Followers } from '../../../src/eventstore/followers.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { createChannel } from '../../../src/gateway/reach/channel.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { followErasures } from '../../../src/services/administration/subjects.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { type Alarms, createAlarms, followerAlarm } from '../../../src/services/base/alarms.ts';
import { openAttestationLog } from '../../../src/services/base/attestationLog.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { noSpans } from '../../../src/services/base/spans.ts';
import { type OpenedContext, openContext } from '../../../src/services/dataFolder/open.ts';
import { deviceRow } from '../../../src/services/field/devices.ts';
import { startVulnerabilityWatch } from '../../../src/services/firmware/vulnerabilityWatch.ts';
import { startClientTrust } from '../../../src/services/identity/clientTrust.ts';
import { certifyDevice } from '../../../src/services/identity/enrolment.ts';
import type { DeliveryParts } from '../../../src/services/integration/webhookDelivery.ts';
import { startWebhookWork } from '../../../src/services/integration/webhookWork.ts';
import { createPeers } from '../../../src/services/processes/peers.ts';
import { startBulkRevocationWork } from '../../../src/services/revocation/bulkRevocations.ts';
import { startOcsp } from '../../../src/services/revocation/ocsp.ts';
import { keepRevocationMark } from '../../../src/services/revocation/revocationMark.ts';
import { type RevocationChange, type Revocations, startRevocations } from '../../../src/services/revocation/revocations.ts';
import { revokeDevice } from '../../../src/services/revocation/revokeDevice.ts';
import { startField } from '../../../src/services/start/field.ts';
import { type PeerAnswers, peerQuestions } from '../../../src/services/start/peerAnswers.ts';
import type { Services } from '../../../src/services/start/services.ts';
import { event } from '../../eventstore/support.ts';
import { covers } from '../../support/covers.ts';
import { pollMs } from '../../support/limits.ts';
import { csrOf, newParty, newUid } from '../parties.ts';
import { mint } from '../project.ts';

/** Everything in a server process that handles the events as they come, with faults in each. */

const faults = { handlerOf: '', isReadBroken: false };
/** Every name, so that a follower that is added is tested too or misses here. */
const names = [
  'revocations',
  'revocations ahead',
  'client trust',
  'OCSP',
  'attachments',
  'gateway bundles',
  'device bundles',
  'deliveries',
  'delivery care',
  'recalls',
  'alarm ends',
  'rollouts',
  'bulk revocations',
  'revocation mark',
  'erasures',
  'vulnerabilities',
  'webhooks',
] as const;

let opened: OpenedContext;
let ctx: Context;
let alarms: Alarms;
let revocations: Revocations;
let dataDir: string;
const closing: { close(): Promise<void> }[] = [];
const own = <Part extends { close(): Promise<void> }>(part: Part): Part => {
  closing.unshift(part);
  return part;
};

/** Subscriptions that end as they do when the store cannot be read. */
const withBrokenReads = (store: EventStore): EventStore => ({
  ...store,
  subscribe: (after, handler) =>
    store.subscribe(after, async events => {
      if (faults.isReadBroken) throw new Error('the disk does not answer');
      await handler(events);
    }),
});
const withBrokenHandlers = (followers: Followers): Followers => ({
  ...followers,
  follow: (name, after, handler, options) =>
    followers.follow(
      name,
      after,
      async events => {
        if (faults.handlerOf === name) throw new Error(`${name} is broken`);
        await handler(events);
      },
      options,
    ),
});

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'nusec-followers-'));
  opened = await openContext(readSettings(dataDir, { NUSEC_LOG_LEVEL: 'silent' }), { https: 8443, crl: 8080 }, true);
  const raise = (trouble: Parameters<typeof followerAlarm>[0]) => void alarms.raise(followerAlarm(trouble)).catch(() => undefined);
  const followers = own(createFollowers(withBrokenReads(opened.ctx.store), raise));
  // The read models have been opened with the followers of the context itself.
  const troubles = () => [...opened.ctx.followers.troubles(), ...followers.troubles()];
  ctx = { ...opened.ctx, followers: { ...withBrokenHandlers(followers), troubles } };
  alarms = createAlarms(ctx);
  await initialiseProject(ctx, { organization: 'Example OEM', administrators: ['alice', 'bob'] });
  await establishIssuingCa(ctx, 'device', 'meter');
  revocations = own(await startRevocations(ctx));
  const trust = own(await startClientTrust(ctx, revocations));
  own(await startOcsp(ctx, revocations));
  const peers = createPeers<PeerAnswers>(peerQuestions, 'one');
  const attestations = openAttestationLog(join(dataDir, 'attestations.db'));
  closing.unshift({ close: async () => attestations.close() });
  own(await startField({ ctx, alarms, revocations, trust, channel: createChannel().channel, peers, attestations }));
  own(await startBulkRevocationWork(ctx, alarms, join(dataDir, 'events.db')));
  own(await keepRevocationMark(ctx, join(dataDir, 'revocations.mark')));
  own(followErasures(ctx, () => {}));
  const watch = startVulnerabilityWatch(ctx);
  own({ close: async () => void (await watch.close()) });
  // No webhook is there to deliver to.
  own(await startWebhookWork({ ctx, alarms } as DeliveryParts));
});
afterAll(async () => {
  for (const part of closing) await part.close();
  await opened.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function readyz(): Promise<{ readonly status: number; readonly text: string }> {
  const refuse = () => Promise.reject(new Error('nobody calls'));
  const auth = createAuth({ person: refuse, machine: () => Promise.reject(new Error('nobody calls')) as never });
  const services = { ctx, spans: noSpans, logCheck: { trouble: () => undefined } } as unknown as Services;
  const answer = await createApi(services, auth, [systemResource]).request('/readyz', {}, {});
  return { status: answer.status, text: await answer.text() };
}
const alarmsOf = async (subject: string) => {
  const events = await ctx.store.readStream(`alarm-${subject}`);
  return events.map(({ data }) => data.code);
};
/** Something to handle. */
const happen = () => alarms.raise({ code: 'TEST', subject: newUid(), detail: 'something happened' });
const patient = { timeout: pollMs };

async function certified(): Promise<{ readonly uid: string; readonly serialHex: string }> {
  const party = newParty();
  const objId = newUid();
  await mint(ctx, party.uid, objId);
  const { certificate } = await certifyDevice(ctx, party.uid, fromBase64url(csrOf(party, objId)), 'operator:alice');
  return { uid: party.uid, serialHex: parseCertificate(certificate).serialHex };
}

describe('a follower of the log', () => {
  it('is known by its name', () => {
    expect(new Set(ctx.followers.names())).toEqual(new Set(names));
    expect(opened.ctx.followers.names()).toEqual(['read models']);
  });

  it('is here, wherever in the source one is begun', () => {
    const source = join(import.meta.dirname, '../../../src/services');
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts'));
    const begun = files.flatMap(name => [...readFileSync(join(source, name), 'utf8').matchAll(/followers\.follow\('([^']+)'/g)]);
    expect(new Set(begun.map(([, name]) => name))).toEqual(new Set(names));
  });

  it.each(names)('%s: a handler that throws is seen, is an alarm, and goes on where it was', async name => {
    faults.handlerOf = name;
    await happen();
    await expect.poll(readyz, patient).toEqual({ status: 503, text: `not ready: ${name}: stopped, ${name} is broken` });
    await expect.poll(() => alarmsOf(`follower-${name.replaceAll(' ', '-')}`), patient).toContain('FOLLOWER_STOPPED');
    faults.handlerOf = '';
    await expect.poll(readyz, patient).toEqual({ status: 200, text: 'ready' });
  });

  it('a store that cannot be read for a while ends none of them', async () => {
    faults.isReadBroken = true;
    await happen();
    const stopped = () => new Set(ctx.followers.troubles().map(({ name }) => name));
    await expect.poll(stopped, patient).toEqual(new Set(names));
    expect((await readyz()).status).toBe(503);
    faults.isReadBroken = false;
    await expect.poll(readyz, patient).toEqual({ status: 200, text: 'ready' });
  });

  it('read models that another process holds: a revocation is answered as done and is in force, and comes into the lists when they go on (T23)', async () => {
    covers('T23');
    const party = await certified();
    const held = await certified();
    const { serialHex } = party;
    const changes: RevocationChange[] = [];
    onTestFinished(revocations.onChange(change => changes.push(change)));
    await ctx.reads.waitFor(await ctx.store.head());

    const holder = spawn(process.execPath, ['--input-type=module', '-e', holdScript, join(dataDir, 'views.db')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    const { revoked } = await revokeDevice(ctx, revocations, party.uid, 'keyCompromise', 'operator:alice');
    expect(revoked).toEqual([serialHex]);
    // Nobody with it is let in, and who is connected is cut.
    expect(revocations.isRevoked(serialHex)).toBe(true);
    expect(changes.map(({ list, ...change }) => ({ ...change, isListed: list !== undefined }))).toMatchObject([
      { serialHex, kind: 'device', subject: party.uid, revoked: true, isListed: false },
    ]);
    const { uid, ...onHold } = held;
    await ctx.store.append(deviceStream(uid), 'any', [event('DeviceSuspended', { reason: 'lost', by: 'operator:alice' })]);
    await expect.poll(() => revocations.isRevoked(onHold.serialHex), patient).toBe(true);
    await ctx.store.append(deviceStream(uid), 'any', [event('DeviceResumed', { by: 'operator:alice' })]);
    // The device itself shows it, from its own events.
    expect(await deviceRow(ctx, party.uid)).toMatchObject({ status: 'REVOKED', serial: serialHex });
    const { status, text } = await readyz();
    expect(status).toBe(503);
    expect(text).toContain('read models: stopped');
    await expect.poll(() => alarmsOf('follower-read-models'), patient).toContain('FOLLOWER_STOPPED');

    holder.stdin.end();
    await once(holder, 'exit');
    await expect.poll(readyz, patient).toEqual({ status: 200, text: 'ready' });
    expect(revocations.isRevoked(serialHex)).toBe(true);
    expect(changes.findLast(change => change.serialHex === serialHex)).toMatchObject({ revoked: true, list: { crlPartition: 0 } });
    // The inventory has both, the hold and its end.
    expect(revocations.isRevoked(onHold.serialHex)).toBe(false);
  });
});

const holdScript = `
import Database from 'better-sqlite3';
const db = new Database(process.argv[1]);
db.exec('BEGIN IMMEDIATE');
console.log('held');
process.stdin.on('end', () => process.exit(0)).resume();`;
