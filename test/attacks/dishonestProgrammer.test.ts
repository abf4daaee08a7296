import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromHex, toBase64url } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { maxRefusalsPerWindow } from '../../src/domain/allotment.ts';
import { csrOf, newParty, newUid, programmerImage, receiptOf } from '../services/parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from '../services/production/factory.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';

/** A programmer that is stolen or bent, still active and with a share of a job: what it can do to devices, units and jobs of others. */

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await defineProduct(plant, 'meter');
  await defineProduct(plant, 'heater');
});
afterAll(() => plant.close());

async function started(line: string, count = 9, uids?: readonly string[]): Promise<TestProgrammer> {
  const builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, line, { plannedCount: count, ...(uids !== undefined && { uids }) }), count);
  return builder;
}

/** Two programmers that share one job. */
async function colleagues(): Promise<readonly [TestProgrammer, TestProgrammer]> {
  const [one, two] = [await activeProgrammer(plant), await activeProgrammer(plant)];
  const jobId = await releasedJob(plant, 'meter', { plannedCount: 10 });
  await one.begin(jobId, 5);
  await two.begin(jobId, 5);
  return [one, two];
}

const streamOf = async (uid: string) => (await plant.ctx.store.readStream(`device-${uid}`)).map(({ type }) => type);
const jobOf = (builder: TestProgrammer) => plant.ask('pia', 'GET', `/v1/jobs/${builder.jobId}`);
const shareOf = async (builder: TestProgrammer) =>
  (await jobOf(builder)).board.find((row: { programmer: string }) => row.programmer === builder.uid);

/** Asks to build this chip; the ledger shows the attempt and that it came to nothing. */
async function claim(builder: TestProgrammer, uid: string): Promise<string | number> {
  const code = await builder.code('units', await builder.reserveRequest(uid));
  await builder.append(builder.entry('void', { uid: fromHex(uid), reason: 'refused' }));
  return code;
}

describe('claims to build a device that lives', () => {
  it('change nothing about the device, whatever the state of the job (T25, I3)', async () => {
    const victim = new Chip();
    await (await started('heater')).build(victim);
    const before = await streamOf(victim.party.uid);
    const running = await started('meter');
    expect(await claim(running, victim.party.uid)).toBe('UID_CONFLICT');
    const suspended = await started('meter');
    await plant.ask('pia', 'POST', `/v1/jobs/${suspended.jobId}/suspend`, { reason: 'audit' });
    expect(await claim(suspended, victim.party.uid)).toBe('JOB_NOT_RUNNING');
    const unlisted = await started('meter', 9, [newUid()]);
    expect(await claim(unlisted, victim.party.uid)).toBe('UID_NOT_LISTED');
    const exhausted = await started('meter', 1);
    await exhausted.build(new Chip());
    expect(await claim(exhausted, victim.party.uid)).toBe('COUNT_EXHAUSTED');
    expect(await streamOf(victim.party.uid)).toEqual(before);
  });

  it('do not disturb a unit that another programmer is building (T25, T33)', async () => {
    const [honest, bent] = [await started('meter'), await started('meter')];
    const chip = new Chip();
    await honest.reserve(chip);
    const steps = Object.values(honest.steps(chip));
    for (const step of steps) {
      expect(await claim(bent, chip.party.uid)).toBe('UID_CONFLICT');
      await step();
    }
    await honest.commit(chip);
    expect((await streamOf(chip.party.uid)).at(-1)).toBe('ProvisioningCompleted');
  });

  it('stand in the programmer’s own stream, raise an alarm about it, and end at a limit (T24, T25)', async () => {
    const victim = new Chip();
    await (await started('heater')).build(victim);
    const bent = await started('meter');
    for (let count = 0; count < maxRefusalsPerWindow; count++) expect(await claim(bent, victim.party.uid)).toBe('UID_CONFLICT');
    expect(await claim(bent, victim.party.uid)).toBe('RATE_LIMITED');
    const own = await plant.ctx.store.readStream(`allotment-${bent.jobId}-${bent.uid}`);
    const refused = own.filter(({ type }) => type === 'ReservationRefused');
    expect(refused).toHaveLength(maxRefusalsPerWindow);
    expect(refused[0]?.data).toMatchObject({ uid: victim.party.uid, uidUse: 'inUse' });
    const alarms = await plant.ctx.store.readStream(`alarm-${bent.uid}`);
    expect(alarms.map(({ data }) => data.code)).toEqual(['UID_CONFLICT']);
    expect(await claim(bent, newUid())).toBe(200);
  });
});

describe('one key in two requests', () => {
  it('freezes the share of the one programmer that can have made it, not the job of others, until a person has looked (T26, I4)', async () => {
    const [honest, bent] = await colleagues();
    const [first, second] = [new Chip(), new Chip()];
    await bent.build(first, 'certificate-installed');
    Object.assign(second, { party: { ...first.party, uid: newUid() } });
    await bent.reserve(second);
    expect(await bent.code(`units/${second.grantId}/csr`, { csr: csrOf(second.party, second.objId) })).toBe('WEAK_OR_CLONED_KEY');
    expect((await jobOf(bent)).status).toBe('RUNNING');
    expect(await shareOf(bent)).toMatchObject({ status: 'FROZEN', frozenReason: 'cloned-key' });
    expect(await claim(bent, newUid())).toBe('ALLOTMENT_FROZEN');
    await honest.build(new Chip());
    await plant.ask('pia', 'POST', `/v1/jobs/${bent.jobId}/allotments/${bent.uid}/thaw`, { reason: 'a bad socket' });
    expect(await claim(bent, newUid())).toBe(200);
  });

  it('of two programmers suspends their job: chips or programmers are bad (T26, I4, silence 6)', async () => {
    const [one, two] = await colleagues();
    const [first, second] = [new Chip(), new Chip()];
    await one.build(first);
    Object.assign(second, { party: { ...first.party, uid: newUid() } });
    await two.reserve(second);
    expect(await two.code(`units/${second.grantId}/csr`, { csr: csrOf(second.party, second.objId) })).toBe('WEAK_OR_CLONED_KEY');
    expect((await jobOf(one)).status).toBe('SUSPENDED');
  });

  it('thaws no share that its own ledger has frozen (T2)', async () => {
    const bent = await started('meter');
    await bent.build(new Chip());
    bent.records = bent.records.slice(0, 1);
    bent.acknowledged = 1;
    expect(await bent.code('units', await bent.reserveRequest(newUid()))).toBe('LEDGER_GAP');
    const path = `/v1/jobs/${bent.jobId}/allotments/${bent.uid}/thaw`;
    expect(await plant.code('pia', 'POST', path, { reason: 'please' })).toBe('STATE');
  });
});

describe('what a programmer claims', () => {
  it('does not make a chip untouched that got bootloader and boot key: it is scrap (T1)', async () => {
    covers('T1');
    const bent = await started('meter', 1);
    const chip = new Chip();
    await bent.build(chip, 'bootloader-installed');
    expect(await bent.voidUnit(chip, false)).toMatchObject({ remaining: 0 });
    expect(await shareOf(bent)).toMatchObject({ voided: 1, scrapped: 1 });
    expect((await streamOf(chip.party.uid)).slice(-2)).toContain('DeviceScrapped');
    expect(await claim(bent, newUid())).toBe('COUNT_EXHAUSTED');
  });

  it('does not lock it with content that the server knows but never signed for it as firmware (T29)', async () => {
    covers('T29');
    const party = newParty();
    const { uid } = party;
    await plant.ask('olga', 'POST', '/v1/programmers', { uid, name: 'NuLink3' });
    await plant.ask('olga', 'POST', `/v1/programmers/${uid}/csr`, { csr: csrOf(party) });
    await plant.ask('olga', 'POST', `/v1/programmers/${uid}/boot-key`);
    const lock = async (sha: Uint8Array, major: number) => {
      const nonce = new Uint8Array(16);
      const image = { image: 2, version: { major, minor: 0, revision: 0, build: 0 }, sha256: sha, securityCounter: 0 };
      const receipt = await receiptOf(party, nonce, { stage: 'programmer', images: [image] });
      return plant.code('olga', 'POST', `/v1/programmers/${uid}/locked`, { receipt, nonce: toBase64url(nonce) });
    };
    const bundle = (await plant.call('olga', 'GET', '/v1/trust-bundle')).bytes;
    expect(await lock(sha256(bundle), 99)).toBe('RECEIPT_REFUSED');
    const signed = await plant.call('olga', 'POST', `/v1/programmers/${uid}/firmware?version=1.0.0`, new Uint8Array(2000).fill(7));
    const { sha256: measured } = programmerImage(signed.bytes);
    expect(await lock(measured, 99)).toBe('RECEIPT_REFUSED');
    expect(await lock(measured, 1)).toBe(200);
  });
});
