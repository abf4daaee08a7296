import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url, fromHex, toBase64url } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { maxRefusalsPerWindow } from '../../src/domain/allotment.ts';
import { otpMap, publicOtp } from '../../src/production/otpMap.ts';
import { csrOf, newParty, newUid, programmerImage, receiptOf } from '../services/parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer, type UnitStep } from '../services/production/factory.ts';
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

/** The same with one bit of its last signature flipped. */
function damaged(text: string): string {
  const bytes = Uint8Array.from(fromBase64url(text));
  const last = bytes.length - 9;
  bytes[last] = (bytes[last] ?? 0) ^ 1;
  return toBase64url(bytes);
}

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
    const alarms = await plant.ctx.store.readStream(`alarm-programmer-${bent.uid}`);
    expect(alarms.map(({ data }) => data.code)).toEqual(['UID_CONFLICT']);
    expect(await claim(bent, newUid())).toBe(200);
  });
});

describe('one key in two requests', () => {
  it('freezes the share of the one programmer that can have made it, not the job of others, until a person has looked (T26, I4)', async () => {
    const [honest, bent] = await colleagues();
    const [first, second] = [new Chip(), new Chip()];
    await bent.build(first, 'bootloader');
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

  it('is taken by nobody whose request is refused: keys without end for one unit leave nothing in the log (T24, T26)', async () => {
    covers('T24', 'T26');
    const bent = await started('meter');
    const chip = new Chip();
    await bent.build(chip, 'bootloader');
    const before = await plant.ctx.store.head();
    const keys = [newParty(), newParty(), newParty()].map(party => ({ ...party, uid: chip.party.uid }));
    for (const key of keys) expect(await bent.code(`units/${chip.grantId}/csr`, { csr: csrOf(key, chip.objId) })).toBe('CONFLICT');
    expect(await plant.ctx.store.head()).toBe(before);
    const other = new Chip({ ...(keys[0] ?? newParty()), uid: newUid() });
    await bent.reserve(other);
    await bent.steps(other).csr();
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

  it('lets two people thaw such a share; what still contradicts itself freezes it again (T2)', async () => {
    covers('T2');
    const bent = await started('meter');
    await bent.build(new Chip());
    const whole = bent.records;
    bent.records = bent.records.slice(0, 1);
    bent.acknowledged = 1;
    const old = await bent.reserveRequest(newUid());
    expect(await bent.code('units', old)).toBe('LEDGER_GAP');
    const path = `/v1/jobs/${bent.jobId}/allotments/${bent.uid}/thaw-proposals`;
    const thaw = async (): Promise<string> => {
      const { id } = await plant.ask('pia', 'POST', path, { reason: 'its memory was put back' });
      expect(await plant.code('pia', 'POST', `${path}/${id}/approve`)).toBe('FOUR_EYES_REQUIRED');
      expect(await plant.code('paul', 'POST', `${path}/${id}/approve`)).toBe(200);
      return id;
    };
    const before = await thaw();
    expect(await bent.code('units', old)).toBe('LEDGER_GAP');
    expect(await shareOf(bent)).toMatchObject({ status: 'FROZEN' });
    // What was proposed once is good for one thaw.
    expect(await plant.code('paul', 'POST', `${path}/${before}/approve`)).toBe('STATE');
    await thaw();
    bent.records = whole;
    bent.acknowledged = whole.length;
    await bent.build(new Chip());
  });

  it('thaws none either whose cloned key was shown first, and another ledger after it (T2, T26)', async () => {
    covers('T2', 'T26');
    const [, bent] = await colleagues();
    const [first, second] = [new Chip(), new Chip()];
    await bent.build(first, 'bootloader');
    Object.assign(second, { party: { ...first.party, uid: newUid() } });
    await bent.reserve(second);
    expect(await bent.code(`units/${second.grantId}/csr`, { csr: csrOf(second.party, second.objId) })).toBe('WEAK_OR_CLONED_KEY');
    bent.records = bent.records.slice(0, 1);
    bent.acknowledged = 0;
    expect(await bent.code(`units/${second.grantId}/void`, await bent.voidRequest(second, false))).toBe('LEDGER_GAP');
    expect(await shareOf(bent)).toMatchObject({ status: 'FROZEN', frozenReason: 'ledger-fork' });
    const path = `/v1/jobs/${bent.jobId}/allotments/${bent.uid}/thaw`;
    expect(await plant.code('pia', 'POST', path, { reason: 'a bad socket' })).toBe('STATE');
  });
});

describe('what a programmer claims', () => {
  it('does not make a chip untouched that got bootloader and boot key: it is scrap (T1)', async () => {
    covers('T1');
    const bent = await started('meter', 1);
    const chip = new Chip();
    await bent.build(chip, 'application-key');
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

describe('what a programmer brings as the word of a unit', () => {
  const alarmsAbout = async ({ uid }: TestProgrammer) =>
    (await plant.ctx.store.readStream(`alarm-programmer-${uid}`)).map(({ data }) => [data.code, data.detail]);
  const stranger = newParty(newUid());
  type Lie = (bent: TestProgrammer, chip: Chip) => Promise<string | number>;
  const unit = (bent: TestProgrammer, chip: Chip, step: string, body: unknown) => bent.code(`units/${chip.grantId}/${step}`, body);
  const lies: readonly (readonly [string, UnitStep | 'commit', string, Lie])[] = [
    [
      'a request for a certificate that names another chip',
      'csr',
      'CSR_SUBJECT',
      (bent, chip) => unit(bent, chip, 'csr', { csr: csrOf(stranger, chip.objId) }),
    ],
    [
      'another bootloader as read back',
      'application-key',
      'CONFLICT',
      (bent, chip) => unit(bent, chip, 'application-key', { ...chip.bootProof(), imageHash: '00'.repeat(32) }),
    ],
    [
      'a lock receipt of another key',
      'application',
      'COSE_SIGNATURE',
      async (bent, chip) => {
        const receipt = await Object.assign(new Chip(stranger), { grantId: chip.grantId, objId: chip.objId }).receipt('NuSEC lock receipt');
        return unit(bent, chip, 'application', await bent.applicationRequest(chip, { receipt }));
      },
    ],
    [
      'a session that was held for another grant',
      'application',
      'SPDM_UNEXPECTED',
      async (bent, chip) =>
        unit(bent, chip, 'application', await bent.applicationRequest(chip, { evidence: await chip.session(sha256(new Uint8Array(1))) })),
    ],
    [
      'a commit receipt of another application',
      'commit',
      'RECEIPT_REFUSED',
      async (bent, chip) => {
        chip.application = { ...chip.application, imageHash: '11'.repeat(32) };
        return unit(bent, chip, 'commit', await bent.commitRequest(chip));
      },
    ],
    [
      'a ledger record of another key',
      'commit',
      'LEDGER_SIGNATURE',
      async (bent, chip) => {
        const request = await bent.commitRequest(chip);
        return unit(bent, chip, 'commit', { ...request, ledger: request.ledger.map(damaged) });
      },
    ],
  ];

  it.each(lies)(
    'and does not hold is an alarm that names it, and leaves the unit as it was: %s (T9, T11, T29)',
    async (_, step, code, lie) => {
      covers('T9', 'T11', 'T29');
      const [bent, chip] = [await started('meter'), new Chip()];
      await bent.build(chip, step);
      const before = await streamOf(chip.party.uid);
      expect(await lie(bent, chip)).toBe(code);
      expect(await alarmsAbout(bent)).toEqual([['PROGRAMMER_EVIDENCE', expect.stringContaining(code)]]);
      // The lock is proven by a receipt of its own, and stays so when the session is false.
      const after = (await streamOf(chip.party.uid)).slice(before.length);
      expect(after.filter(type => !['BootKeyBurned', 'DebugLocked'].includes(type))).toEqual([]);
    },
  );

  it('accuses nobody when it is refused for another reason (T29)', async () => {
    const [honest, chip] = [await started('meter'), new Chip()];
    await honest.build(chip, 'application');
    const request = await honest.applicationRequest(chip);
    await plant.ask('pia', 'POST', `/v1/jobs/${honest.jobId}/suspend`, { reason: 'audit' });
    expect(await unit(honest, chip, 'application', request)).toBe('JOB_NOT_RUNNING');
    expect(await alarmsAbout(honest)).toEqual([]);
  });
});

describe('what is burned', () => {
  /** What the server gave for the public slots, with one of them replaced. */
  async function otpOf(chip: Chip, spki: string, replaced?: number): Promise<Uint8Array> {
    const point = fromBase64url(chip.bootloader.publicKey).slice(-65);
    const [root, ica] = chip.chain.map(sha256);
    const given = [point.slice(1, 33), point.slice(33), sha256(fromBase64url(spki)), root, ica];
    return sha256(publicOtp(slot => (slot === replaced ? sha256(new Uint8Array(1)) : given[slot])));
  }
  const lockNonce = (chip: Chip) => chip.receipt.bind(chip, 'NuSEC lock receipt');

  it('has to be what the server gave, as the unit signs it: no foreign root, no blank OTP (T9, T11, T29)', async () => {
    covers('T9', 'T11', 'T29');
    const [bent, chip] = [await started('meter'), new Chip()];
    await bent.build(chip, 'application');
    const { publicKey, unlockSha256 } = await bent.ask(`units/${chip.grantId}/application-key`, chip.bootProof());
    const lock = async (facts: Parameters<Chip['receipt']>[1]) =>
      bent.code(`units/${chip.grantId}/application`, await bent.applicationRequest(chip, { receipt: await lockNonce(chip)(facts) }));
    for (const slot of [otpMap.rootCaHash, otpMap.icaHash, otpMap.bootKeyX, otpMap.applicationKeyHash])
      expect(await lock({ otpSha256: await otpOf(chip, publicKey, slot.slot) }), `slot ${slot.slot}`).toBe('RECEIPT_REFUSED');
    expect(await lock({ secretOtpSha256: sha256(sha256(new Uint8Array(1))) }), 'the password of somebody else').toBe('RECEIPT_REFUSED');
    expect(await lock({ otpMask: 0 })).toBe('RECEIPT_REFUSED');
    expect(await plant.alarms()).toContain('OTP_FOREIGN');
    expect(await streamOf(chip.party.uid)).not.toContain('DebugLocked');
    const secretOtpSha256 = sha256(fromHex(unlockSha256));
    expect(await lock({ otpSha256: await otpOf(chip, publicKey), secretOtpSha256 })).toBe(200);
  });

  it('is asked for again when the unit is committed (T29)', async () => {
    covers('T29');
    const [bent, chip] = [await started('meter'), new Chip()];
    await bent.build(chip, 'commit');
    const spki = (await bent.ask(`units/${chip.grantId}/application-key`, chip.bootProof())).publicKey;
    const commit = async (facts: Parameters<Chip['receipt']>[1]) => {
      const receipt = await chip.receipt('NuSEC commit receipt', facts);
      const ids = { uid: fromHex(chip.party.uid), grantId: fromHex(chip.grantId), receiptSha256: sha256(fromBase64url(receipt)) };
      const kept = [bent.records.slice(), bent.left] as const;
      await bent.append(bent.entry('commit', ids));
      const code = await bent.code(`units/${chip.grantId}/commit`, { receipt, ledger: bent.pending });
      if (code !== 200) [bent.records, bent.left] = [[...kept[0]], kept[1]];
      return code;
    };
    expect(await commit({ otpMask: 0 })).toBe('RECEIPT_REFUSED');
    expect(await commit({ otpSha256: await otpOf(chip, spki, otpMap.rootCaHash.slot) })).toBe('RECEIPT_REFUSED');
    expect(await commit({ otpSha256: await otpOf(chip, spki) })).toBe(200);
  });

  it('has to be boot key and both anchors in a programmer too (T14)', async () => {
    covers('T14');
    const party = newParty();
    const path = (step: string) => `/v1/programmers/${party.uid}/${step}`;
    await plant.ask('olga', 'POST', '/v1/programmers', { uid: party.uid, name: 'NuLink3' });
    const chain = await plant.ask('olga', 'POST', path('csr'), { csr: csrOf(party) });
    const { publicKey } = await plant.ask('olga', 'POST', path('boot-key'));
    const signed = await plant.call('olga', 'POST', `${path('firmware')}?version=1.0.0`, new Uint8Array(2000).fill(9));
    const lock = async (facts: Parameters<typeof receiptOf>[2]) => {
      const nonce = new Uint8Array(16);
      const receipt = await receiptOf(party, nonce, { stage: 'programmer', images: [programmerImage(signed.bytes)], ...facts });
      return plant.code('olga', 'POST', path('locked'), { receipt, nonce: toBase64url(nonce) });
    };
    const point = fromBase64url(publicKey).slice(-65);
    const anchor = (der: string) => sha256(fromBase64url(der));
    const otp = (root: Uint8Array) =>
      sha256(publicOtp(slot => [point.slice(1, 33), point.slice(33), undefined, root, anchor(chain.ica)][slot]));
    expect(await lock({ otpMask: 0b0_0011 })).toBe('RECEIPT_REFUSED');
    expect(await lock({ otpSha256: otp(anchor(chain.ica)) })).toBe('RECEIPT_REFUSED');
    expect(await lock({ otpSha256: otp(anchor(chain.root)) })).toBe(200);
  });
});
