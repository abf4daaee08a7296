import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { programmer, programmerStream } from '../../../src/domain/programmer.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { covers } from '../../support/covers.ts';
import { watchWrites } from '../../support/watchedStore.ts';
import { changeByTwo } from '../firmware/lineKit.ts';
import { newUid } from '../parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer, type UnitStep } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

/** Job and programmer are looked at in every step, and what a step decides is stored only while they are as they were seen. */

/** Something that happens between a decision and its commit: once, before the next commit to a stream of this kind. */
let meanwhile: { readonly kind: string; readonly what: () => Promise<unknown> } | undefined;

const watched = (ctx: Context): Context => ({
  ...ctx,
  store: watchWrites(ctx.store, async streams => {
    if (meanwhile === undefined || !streams.some(stream => stream.startsWith(`${meanwhile?.kind}-`))) return;
    const { what } = meanwhile;
    meanwhile = undefined;
    await what();
  }),
});

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant(watched);
  await defineProduct(plant, 'meter');
});
afterAll(() => plant.close());

async function started(): Promise<TestProgrammer> {
  const builder = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter', { plannedCount: 50, scrapAllowance: 50 }), 50, 50);
  return builder;
}

const job = (builder: TestProgrammer, step: string) => plant.ask('pia', 'POST', `/v1/jobs/${builder.jobId}/${step}`, reasonFor(step));
const machine = (builder: TestProgrammer, step: string) =>
  plant.ask('olga', 'POST', `/v1/programmers/${builder.uid}/${step}`, reasonFor(step));
const reasonFor = (step: string) => (step === 'suspend' ? { reason: 'audit' } : {});

const steps: readonly UnitStep[] = ['csr', 'bootloader', 'application-key', 'application'];

/** The code of a refused step, or 200. */
const outcome = (work: Promise<unknown>) =>
  work.then(
    () => 200,
    error => /"code":"(\w+)"/.exec(String(error))?.[1] ?? String(error),
  );

describe('each step of a unit', () => {
  let builder: TestProgrammer;
  /** One unit before each step. */
  const unitsBefore = async (): Promise<ReadonlyMap<UnitStep, Chip>> => {
    const chips = new Map(steps.map(step => [step, new Chip()]));
    for (const [step, chip] of chips) await builder.build(chip, step);
    return chips;
  };
  const take = (chips: ReadonlyMap<UnitStep, Chip>, step: UnitStep) => outcome(builder.steps(chips.get(step) as Chip)[step]());
  const all = async (chips: ReadonlyMap<UnitStep, Chip>) =>
    new Map(await Promise.all(steps.map(async step => [step, await take(chips, step)] as const)));
  const each = (code: string | number) => new Map(steps.map(step => [step, code]));

  beforeAll(async () => {
    builder = await started();
  });

  it('is refused while the job is suspended, and goes on after it', async () => {
    const chips = await unitsBefore();
    await job(builder, 'suspend');
    expect(await all(chips)).toEqual(each('JOB_NOT_RUNNING'));
    await job(builder, 'resume');
    expect(await all(chips)).toEqual(each(200));
  });

  it('stores nothing when the job is suspended between the decision and its append', async () => {
    const chips = await unitsBefore();
    for (const step of steps) {
      meanwhile = { kind: 'device', what: () => job(builder, 'suspend') };
      expect([step, await take(chips, step)]).toEqual([step, 'JOB_NOT_RUNNING']);
      expect(meanwhile).toBeUndefined();
      await job(builder, 'resume');
    }
  });

  it('is refused when the programmer is suspended or was returned (I17)', async () => {
    covers('I17');
    const chips = await unitsBefore();
    await machine(builder, 'suspend');
    expect(await all(chips)).toEqual(each('CERTIFICATE_REVOKED'));
    await machine(builder, 'resume');
    await machine(builder, 'return');
    expect(await all(chips)).toEqual(each('PROGRAMMER_NOT_ACTIVE'));
  });
});

describe('a commit', () => {
  const built = async (): Promise<[TestProgrammer, Chip]> => {
    const builder = await started();
    const chip = new Chip();
    await builder.reserve(chip);
    for (const step of Object.values(builder.steps(chip))) await step();
    return [builder, chip];
  };

  it('is taken of a unit that was complete when the job was suspended, and of no other; repeated it is answered again', async () => {
    const [builder, chip] = await built();
    const halfBuilt = new Chip();
    await builder.build(halfBuilt, 'application');
    await job(builder, 'suspend');
    const request = await builder.commitRequest(chip);
    for (const _ of [1, 2]) expect(await builder.code(`units/${chip.grantId}/commit`, request)).toBe(200);
    builder.acknowledged = builder.records.length;
    expect(await outcome(builder.steps(halfBuilt).application())).toBe('JOB_NOT_RUNNING');
    halfBuilt.application = chip.application;
    expect(await builder.code(`units/${halfBuilt.grantId}/commit`, await builder.commitRequest(halfBuilt))).not.toBe(200);
    const committed = (await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`)).filter(
      ({ type }) => type === 'UnitCommitted',
    );
    expect(committed.map(({ data }) => data.uid)).toEqual([chip.party.uid]);
  });

  it('is refused in a suspended job when the programmer is out of use (T15)', async () => {
    covers('T15');
    const [builder, chip] = await built();
    await job(builder, 'suspend');
    await machine(builder, 'return');
    expect(await builder.code(`units/${chip.grantId}/commit`, await builder.commitRequest(chip))).toBe('PROGRAMMER_NOT_ACTIVE');
  });

  it('counts nothing when the programmer is stolen between the decision and its append (T15)', async () => {
    covers('T15');
    const [builder, chip] = await built();
    const request = await builder.commitRequest(chip);
    const stolen = { type: 'ReportProgrammerStolen', by: 'operator:olga' } as const;
    meanwhile = { kind: 'allotment', what: () => execute(plant.ctx, programmer, programmerStream(builder.uid), stolen, 'operator:olga') };
    expect(await builder.code(`units/${chip.grantId}/commit`, request)).toBe('PROGRAMMER_NOT_ACTIVE');
    const events = await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`);
    expect(events.map(({ type }) => type)).not.toContain('UnitCommitted');
  });
});

it('a reservation is not granted when the job is suspended between the decision and its append', async () => {
  const builder = await started();
  meanwhile = { kind: 'allotment', what: () => job(builder, 'suspend') };
  expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe('JOB_NOT_RUNNING');
  const events = await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`);
  expect(events.map(({ type }) => type)).not.toContain('UnitReserved');
});

describe('between the decision and its append', () => {
  const eventsOf = async ({ jobId, uid }: TestProgrammer) => plant.ctx.store.readStream(`allotment-${jobId}-${uid}`);

  it('a bootloader that is given out makes the unit scrap, whatever its void says of OTP (T1)', async () => {
    covers('T1');
    const builder = await started();
    const chip = new Chip();
    await builder.build(chip, 'bootloader');
    meanwhile = { kind: 'allotment', what: async () => builder.steps(chip).bootloader() };
    await builder.voidUnit(chip, false);
    expect(meanwhile).toBeUndefined();
    expect((await eventsOf(builder)).find(({ type }) => type === 'UnitVoided')?.data).toMatchObject({ scrapped: true });
    const events = await plant.ctx.store.readStream(`device-${chip.party.uid}`);
    expect(events.map(({ type }) => type)).toContain('DeviceScrapped');
  });

  it('a job that is suspended lets no grant be renewed', async () => {
    const builder = await started();
    const chip = new Chip();
    await builder.reserve(chip);
    plant.moveClock(16 * 60_000);
    meanwhile = { kind: 'allotment', what: () => job(builder, 'suspend') };
    expect(await builder.code(`units/${chip.grantId}/renew`)).toBe('JOB_NOT_RUNNING');
    expect((await eventsOf(builder)).map(({ type }) => type)).not.toContain('GrantRenewed');
  });
});

describe('a voided unit whose bootloader was given out', () => {
  const voided = async (facts: Parameters<Chip['receipt']>[1], label: Parameters<Chip['receipt']>[0] = 'NuSEC void receipt') => {
    const builder = await started();
    const chip = new Chip();
    await builder.build(chip, 'application-key');
    const receipt = await chip.receipt(label, facts);
    return builder.ask(`units/${chip.grantId}/void`, { ...(await builder.voidRequest(chip, false)), receipt });
  };
  const empty = { stage: 'devauth', otpMask: 0, debugState: 'open', lifeCycle: 'manufacture', images: [] } as const;

  it('is no scrap when the chip itself signs that its OTP is empty', async () => {
    expect(await voided(empty)).toMatchObject({ scrapped: false, remaining: 50 });
  });

  it.each([
    ['a burned slot', { ...empty, otpMask: 1 }, 'NuSEC void receipt'],
    ['a closed debug port', { ...empty, debugState: 'locked' }, 'NuSEC void receipt'],
    ['a bootloader that runs', { ...empty, stage: 'bl2' }, 'NuSEC void receipt'],
    ['a receipt for something else', empty, 'NuSEC lock receipt'],
    ['another registration', { ...empty, objId: new Uint8Array(16).fill(9) }, 'NuSEC void receipt'],
  ] as const)('is scrap with %s (T1)', async (_, facts, label) => {
    covers('T1');
    expect(await voided(facts, label)).toMatchObject({ scrapped: true });
  });
});

describe('a programmer that is out of use gets no share and no package', () => {
  const share = (builder: TestProgrammer, jobId: string) =>
    plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 1 });
  const packed = (builder: TestProgrammer, jobId: string, replace = false) =>
    plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${builder.uid}/export`, { replace });

  it.each(['suspend', 'stolen', 'revoke', 'return'])('after %s', async step => {
    covers('T15');
    const builder = await activeProgrammer(plant);
    const [held, other] = [await releasedJob(plant, 'meter'), await releasedJob(plant, 'meter')];
    expect(await share(builder, held)).toBe(200);
    expect(await packed(builder, held)).toBe(200);
    await plant.ask(
      'olga',
      'POST',
      `/v1/programmers/${builder.uid}/${step}`,
      step === 'stolen' || step === 'return' ? {} : { reason: 'x' },
    );
    expect(await share(builder, other)).toBe('PROGRAMMER_NOT_ACTIVE');
    for (const replace of [false, true]) {
      expect(['ALLOTMENT_FROZEN', 'PROGRAMMER_NOT_ACTIVE']).toContain(await packed(builder, held, replace));
    }
    const image = await plant.call('olga', 'POST', `/v1/programmers/${builder.uid}/firmware?version=2.0.0`, new Uint8Array(2000));
    expect(image.body.code).toBe(step === 'return' ? undefined : 'PROGRAMMER_NOT_ACTIVE');
  });

  it('nor does anybody get a package of a suspended job, not even the same one again', async () => {
    const builder = await started();
    expect(await packed(builder, builder.jobId)).toBe(200);
    await job(builder, 'suspend');
    expect(await packed(builder, builder.jobId)).toBe('JOB_NOT_RUNNING');
  });
});

describe('a job of a site', () => {
  const at = async (): Promise<TestProgrammer> => {
    const builder = await activeProgrammer(plant);
    await builder.begin(await releasedJob(plant, 'meter', { plannedCount: 50, scrapAllowance: 50, site: 'CM' }), 50, 50);
    return builder;
  };
  const operator = (builder: TestProgrammer, step: string) =>
    plant.code('lino', 'POST', `/v1/jobs/${builder.jobId}/${step}`, reasonFor(step));

  it('is stopped and resumed by the line operator there, but not resumed when somebody else has stopped it (T17)', async () => {
    covers('T17');
    const [builder, chip] = [await at(), new Chip()];
    expect(await operator(builder, 'suspend')).toBe(200);
    expect(await outcome(builder.reserve(chip))).toBe('JOB_NOT_RUNNING');
    expect(await operator(builder, 'resume')).toBe(200);
    await job(builder, 'suspend');
    expect(await operator(builder, 'resume')).toBe('FORBIDDEN');
    const share = `/v1/jobs/${builder.jobId}/allotments/${builder.uid}/export`;
    await job(builder, 'resume');
    const [first, again] = [await plant.call('pia', 'POST', share), await plant.call('lino', 'POST', share)];
    expect([again.status, Buffer.from(again.bytes).equals(first.bytes)]).toEqual([200, true]);
  });

  it('is built by programmers of that site alone, in every step (T15)', async () => {
    covers('T15');
    const [builder, chip] = [await at(), new Chip()];
    await builder.build(chip, 'bootloader');
    const stream = programmerStream(builder.uid);
    for (const event of [newEvent('ProgrammerShipped', { to: 'Other CM' }, envelope()), newEvent('ProgrammerCheckedIn', {}, envelope())])
      await plant.ctx.store.append(stream, 'any', [event]);
    expect(await outcome(builder.steps(chip).bootloader())).toBe('WRONG_SITE');
    expect(await outcome(builder.reserve(new Chip()))).toBe('WRONG_SITE');
    const events = await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`);
    expect(events.filter(({ type }) => type === 'UnitReserved')).toHaveLength(1);
    const share = { programmer: builder.uid, count: 50, scrapAllowance: 50 };
    expect(await plant.code('pia', 'POST', `/v1/jobs/${builder.jobId}/allotments`, share)).toBe('WRONG_SITE');
  });
  const envelope = () => ({ id: plant.ctx.newId(), at: new Date().toISOString(), by: 'operator:olga' });
});

describe('a job whose firmware is withdrawn (I8)', () => {
  const withdrawApp = async (jobId: string, image: 'app' | 'bl2' = 'app') => {
    const { releaseId } = (await plant.ask('pia', 'GET', `/v1/jobs/${jobId}`))[image];
    await plant.ask('rita', 'POST', `/v1/releases/${releaseId}/withdraw`, { reason: 'bug' });
    return releaseId;
  };

  it.each(['app', 'bl2'] as const)('gets no package, neither a new one nor the one before: %s', async image => {
    covers('I8');
    await defineProduct(plant, `kettle-${image}`);
    const [first, second] = [await activeProgrammer(plant), await activeProgrammer(plant)];
    const jobId = await releasedJob(plant, `kettle-${image}`, { plannedCount: 20 });
    await first.begin(jobId, 5);
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: second.uid, count: 5, scrapAllowance: 0 });
    await withdrawApp(jobId, image);
    for (const { uid } of [first, second])
      expect(await plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${uid}/export`)).toBe('RELEASE_STATE');
  });

  it('gets no package when it is withdrawn while that is made', async () => {
    covers('I8');
    await defineProduct(plant, 'toaster');
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'toaster', { plannedCount: 20 });
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 5, scrapAllowance: 0 });
    meanwhile = { kind: 'allotment', what: () => withdrawApp(jobId) };
    expect(await plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${builder.uid}/export`)).toBe('RELEASE_STATE');
  });

  it('is not released, and is with other firmware; once released, releasing it again says the same', async () => {
    covers('I8');
    await defineProduct(plant, 'mixer');
    const draft = async () => {
      const { jobId } = await plant.ask('pia', 'POST', '/v1/jobs', {
        line: 'mixer',
        plannedCount: 5,
        scrapAllowance: 0,
        requireUidList: false,
      });
      for (const { releaseId } of (await plant.ask('pia', 'GET', '/v1/releases?line=mixer')).releases.filter(isPublished))
        await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/firmware`, { releaseId });
      return jobId;
    };
    const isPublished = ({ status }: { readonly status: string }) => status === 'PUBLISHED';
    const jobId = await draft();
    const withdrawn = await withdrawApp(jobId);
    expect(await plant.code('paul', 'POST', `/v1/jobs/${jobId}/release`)).toBe('RELEASE_STATE');
    const query = 'line=mixer&image=app&version=2.0.1&counter=5';
    const { releaseId } = (await plant.call('rita', 'POST', `/v1/releases?${query}`, new Uint8Array(5000).fill(7))).body;
    for (const step of ['approve', 'publish']) await plant.ask('rolf', 'POST', `/v1/releases/${releaseId}/${step}`);
    expect(releaseId).not.toBe(withdrawn);
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/firmware`, { releaseId });
    expect(await plant.code('paul', 'POST', `/v1/jobs/${jobId}/release`)).toBe(200);
    await withdrawApp(jobId);
    expect(await plant.code('paul', 'POST', `/v1/jobs/${jobId}/release`)).toBe(200);
  });
});

describe('a job whose application is below the floor of its line (RULE-11, T12)', () => {
  const share = (builder: TestProgrammer): string => `/v1/jobs/${builder.jobId}/allotments/${builder.uid}/export`;
  const raised = (line: string): Promise<unknown> => changeByTwo(plant.ctx, line, { floor: 6 });

  it('gets no package, neither a new one nor the one before', async () => {
    covers('RULE-11', 'T12');
    await defineProduct(plant, 'heater', 5);
    const [first, second] = [await activeProgrammer(plant), await activeProgrammer(plant)];
    const jobId = await releasedJob(plant, 'heater', { plannedCount: 20 });
    await first.begin(jobId, 5);
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: second.uid, count: 5, scrapAllowance: 0 });
    await raised('heater');
    expect(await plant.code('pia', 'POST', share(first))).toBe('ROLLBACK');
    expect(await plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${second.uid}/export`)).toBe('ROLLBACK');
  });

  it('begins no unit, and burns no key of one that was begun: the chip could not get its application (RULE-11)', async () => {
    covers('RULE-11');
    await defineProduct(plant, 'boiler', 5);
    const builder = await activeProgrammer(plant);
    await builder.begin(await releasedJob(plant, 'boiler', { plannedCount: 20 }), 5);
    const chip = new Chip();
    await builder.build(chip, 'bootloader');
    await raised('boiler');
    expect(await outcome(builder.steps(chip).bootloader())).toBe('ROLLBACK');
    expect(await builder.code('units', await builder.reserveRequest(newUid()))).toBe('ROLLBACK');
    const events = await plant.ctx.store.readStream(`allotment-${builder.jobId}-${builder.uid}`);
    expect(events.filter(({ type }) => type === 'UnitReserved')).toHaveLength(1);
  });

  it('gets none when the floor rises while it is made', async () => {
    covers('RULE-11', 'T12');
    await defineProduct(plant, 'meter-s', 5);
    const builder = await activeProgrammer(plant);
    const jobId = await releasedJob(plant, 'meter-s', { plannedCount: 20 });
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: builder.uid, count: 5, scrapAllowance: 0 });
    meanwhile = { kind: 'allotment', what: () => raised('meter-s') };
    expect(await plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${builder.uid}/export`)).toBe('ROLLBACK');
  });
});
