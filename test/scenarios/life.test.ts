import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Life, newLife, type Proof, steps } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';
import { verifyStore } from '../../src/eventstore/verify.ts';

/** The demo's steps as assertions, every part a process of its own: one scenario per stage of life (R99). */

let life: Life;
const proofs = new Map<string, Proof>();

beforeAll(async () => {
  life = newLife(await createWorld());
});
afterAll(() => life?.world.close());

/** What each stage shows, by number. */
const stages = {
  manufacture: 'manufacture (R3–R34, R57–R82, R100, R102–R112, RULE-3, RULE-4, RULE-5, RULE-8, RULE-9, T1)',
  deployment: 'deployment (R84–R85, R88, R111, RULE-9)',
  maintenance: 'maintenance (R87–R95, RULE-11, RULE-12, RULE-13, RULE-18, T12)',
  decommission: 'decommission (R86, R96, RULE-16, RULE-17, T23, T31)',
} as const;

for (const [stage, title] of Object.entries(stages)) {
  describe(title, () => {
    for (const step of steps.filter(candidate => candidate.stage === stage)) {
      it(step.name, async () => proofs.set(step.name, await step.run(life)));
    }
  });
}

describe('afterwards', () => {
  const typesOf = async (uid: string): Promise<readonly string[]> =>
    (await life.world.events()).filter(event => event.stream === `device-${uid}`).map(({ type }) => type);

  it('every step is proven by an event of the log', () => {
    expect(proofs.size).toBe(steps.length);
    for (const [name, { event }] of proofs) expect(event.position, name).toBeGreaterThan(0);
  });

  it('a device was built in the order that keeps it safe: certified, rooted, locked, authenticated, installed (R69, I7, RULE-14)', async () => {
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
    expect(await typesOf(life.units[2]?.uid ?? '')).toEqual([]);
    expect(life.units[2]?.mcu.lines.some(line => line.event === 'connected')).toBe(false);
  });

  it('the registry says 2.0.0 only because the device proved it (I18, RULE-18)', async () => {
    const { alice } = life.world;
    const device = await alice.json<{ firmware?: { version: string }; version?: string }>('GET', `/v1/devices/${life.units[1]?.uid}`);
    expect(JSON.stringify(device)).toContain('2.0.0');
    const upgraded = (await life.world.events()).filter(event => event.type === 'FirmwareUpgraded');
    expect(upgraded).toHaveLength(2);
    for (const { data } of upgraded) expect(data.evidenceSha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('the revoked device did not come back (T23, I11)', async () => {
    const [unit] = life.units;
    const lines = unit?.mcu.lines ?? [];
    const dropped = lines.findLastIndex(line => line.event === 'disconnected');
    expect(lines.slice(dropped).some(line => line.event === 'connected')).toBe(false);
  });

  it('no secret is in the log: no private key, no token (I19)', async () => {
    const text = JSON.stringify(await life.world.events());
    expect(text).not.toMatch(/PRIVATE KEY|privateKey|"token"/);
  });

  it('the hash chains are whole (T18)', () => {
    expect(verifyStore(`${life.world.dir}/server/events.db`)).toMatchObject({ ok: true });
  });
});
