import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Life, newLife, type Proof, steps } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';
import { verifyEvidence } from '../../src/evidence/verify.ts';
import { fromPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';

/** The demo's steps as assertions, every part a process of its own: one scenario per stage of life (R99). */

let life: Life;
const proofs = new Map<string, Proof>();

beforeAll(async () => {
  life = newLife(await createWorld());
});
afterAll(() => life?.world.close());

const stages = ['manufacture', 'deployment', 'maintenance', 'decommission'] as const;

for (const stage of stages) {
  describe(stage, () => {
    for (const step of steps.filter(candidate => candidate.stage === stage)) {
      it(step.name, async () => proofs.set(step.name, await step.run(life)));
    }
  });
}

describe('afterwards', () => {
  const typesOf = async (uid: string): Promise<readonly string[]> =>
    (await life.world.events()).filter(event => event.stream === `device-${uid}`).map(({ type }) => type);

  it('every step is proven by an event of the log', () => {
    covers('R99');
    expect(proofs.size).toBe(steps.length);
    expect([...new Set(steps.filter(({ name }) => proofs.has(name)).map(({ stage }) => stage))]).toEqual(stages);
    for (const [name, { event }] of proofs) expect(event.position, name).toBeGreaterThan(0);
  });

  it('a device was built in the order that keeps it safe: certified, rooted, locked, authenticated, installed (R69, I7, RULE-14)', async () => {
    covers('R69', 'I7', 'RULE-14');
    const order = [
      'DeviceMinted',
      'CertificationRequested',
      'DeviceCertified',
      'CertificateInstalled',
      'BootKeyAssigned',
      'BootloaderInstalled',
      'DebugLocked',
      'ProgrammingSessionAuthenticated',
      'FirmwareInstalled',
      'ProvisioningCompleted',
      'DevicePutInService',
    ];
    for (const { uid } of life.units.slice(0, 2)) {
      const types = await typesOf(uid);
      const places = order.map(type => types.indexOf(type));
      expect(places, types.join(' ')).toEqual([...places].sort((a, b) => a - b));
      expect(Math.min(...places), types.join(' ')).toBeGreaterThanOrEqual(0);
    }
  });

  it('the third unit was never minted and holds no key (T1, RULE-4)', async () => {
    covers('T1', 'RULE-4');
    expect(await typesOf(life.units[2]?.uid ?? '')).toEqual([]);
    expect(life.units[2]?.mcu.lines.some(line => line.event === 'connected')).toBe(false);
  });

  it('the registry says 2.0.0 only because the device proved it (R88, I18, RULE-18)', async () => {
    covers('R88', 'I18', 'RULE-18');
    const { alice } = life.world;
    const device = await alice.json<{ firmware?: { version: string }; version?: string }>('GET', `/v1/devices/${life.units[1]?.uid}`);
    expect(JSON.stringify(device)).toContain('2.0.0');
    const upgraded = (await life.world.events()).filter(event => event.type === 'FirmwareUpgraded');
    expect(upgraded).toHaveLength(2);
    for (const { data } of upgraded) expect(data.evidenceSha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('the revoked device did not come back (T23, I11)', async () => {
    covers('T23', 'I11');
    const [unit] = life.units;
    const lines = unit?.mcu.lines ?? [];
    const dropped = lines.findLastIndex(line => line.event === 'disconnected');
    expect(lines.slice(dropped).some(line => line.event === 'connected')).toBe(false);
  });

  it('no secret is in the log: no private key, no token (I19)', async () => {
    covers('I19');
    const text = JSON.stringify(await life.world.events());
    expect(text).not.toMatch(/PRIVATE KEY|privateKey|"token"/);
  });

  it('the evidence of a device is proven by the root certificate alone, up to its newest event (T18, T19)', async () => {
    covers('T18', 'T19');
    const uid = life.units[1]?.uid ?? '';
    const file = await life.world.alice.json('GET', `/v1/devices/${uid}/evidence`);
    const root = fromPem('CERTIFICATE', readFileSync(`${life.world.dir}/server/root.pem`, 'utf8'));
    const proven = verifyEvidence(JSON.stringify(file), root);
    expect(proven.events.map(({ type }) => type)).toEqual(await typesOf(uid));
    expect(proven.related.map(({ type }) => type)).toContain('UnitCommitted');
    expect(proven.blobs).toBeGreaterThan(3);
  });

  it('the hash chains are whole (T18)', () => {
    covers('T18');
    expect(verifyStore(`${life.world.dir}/server/events.db`)).toMatchObject({ ok: true });
  });
});
