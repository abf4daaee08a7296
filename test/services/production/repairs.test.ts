import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { equalBytes, fromBase64url, fromHex, toBase64url } from '../../../src/bytes.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { sha256 } from '../../../src/digest.ts';
import { verifyOrder } from '../../../src/production/order.ts';
import type { Receipt } from '../../../src/production/receipt.ts';
import { returnReceiptNonce, returnSessionNonce } from '../../../src/production/returnProof.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { unlockPasswordHash } from '../../../src/services/production/unlockPassword.ts';
import { covers } from '../../support/covers.ts';
import { csrOf, newParty, receiptOf } from '../parties.ts';
import { activeProgrammer, Chip, defineProduct, releasedJob, type TestProgrammer } from './factory.ts';
import { openPlant, type Plant } from './plant.ts';

/** Repair at the API of a server, with a programmer and a chip that say what they want. */

/** A chip that has the hash of its unlock password in OTP 5. */
class UnlockableChip extends Chip {
  override receipt(label: Parameters<Chip['receipt']>[0], facts: Parameters<Chip['receipt']>[1] = {}): Promise<string> {
    return super.receipt(label, { otpMask: 0b11_1111, ...facts });
  }
}

const minuteMs = 60_000;
let plant: Plant;
let builder: TestProgrammer;
let other: TestProgrammer;
let chip: Chip;

beforeAll(async () => {
  plant = await openPlant(ctx => ({ ...ctx, effectsPerDay: 1000 }));
  await defineProduct(plant, 'meter');
  builder = await activeProgrammer(plant);
  other = await activeProgrammer(plant);
  await builder.begin(await releasedJob(plant, 'meter', { plannedCount: 20 }), 20, 0);
});
afterAll(() => plant.close());
beforeEach(async () => {
  chip = new UnlockableChip();
  await builder.build(chip);
  await decide('repair', { reason: 'dead display', programmer: builder.uid });
});

const freshNonce = (): string => toBase64url(new Uint8Array(randomBytes(16)));
const path = (step: string): string => `/v1/devices/${chip.party.uid}/${step}`;
const decide = (step: string, body: object = {}, who = 'olga') => plant.ask(who, 'POST', path(step), body);
const codeOfDecision = (step: string, body: object = {}, who = 'olga') => plant.code(who, 'POST', path(step), body);
const repairPath = (step: string): string => `/v1/repairs/${chip.party.uid}${step && `/${step}`}`;
const ask = (step: string, body: object, by = builder) => plant.ask(by.self.certificate, 'POST', repairPath(step), body);
const code = (step: string, body: object, by = builder) => plant.code(by.self.certificate, 'POST', repairPath(step), body);
const show = () => plant.ask('olga', 'GET', path('repair'));
const typesOf = async () => (await plant.ctx.store.readStream(`device-${chip.party.uid}`)).map(({ type }) => type);

async function approved(): Promise<void> {
  await decide('repair/unlock', { reason: 'does not boot' });
  await decide('repair/unlock/approve', {}, 'alice');
}

describe('a programmer that is not in use any more', () => {
  it('gets nothing of the device it was given, in any step (T15, I17)', async () => {
    covers('T15', 'I17');
    const named = await activeProgrammer(plant);
    await decide('repair', { reason: 'other bench', programmer: named.uid });
    await decide('repair/return');
    const rekeyed = await ask('rekey', { nonce: freshNonce() }, named);
    await plant.ask('olga', 'POST', `/v1/programmers/${named.uid}/return`);
    const csr = csrOf(newParty(), rekeyed.objId);
    const proof = { objId: rekeyed.objId, receipt: 'AAAA', evidence: 'AAAA' };
    const steps = { unlock: { nonce: freshNonce() }, rekey: { nonce: freshNonce() }, csr: { csr }, returned: proof };
    for (const [step, body] of Object.entries(steps))
      expect([step, await code(step, body, named)]).toEqual([step, 'PROGRAMMER_NOT_ACTIVE']);
    expect(await plant.code(named.self.certificate, 'GET', repairPath(''))).toBe('PROGRAMMER_NOT_ACTIVE');
  });
});

describe('the debug unlock', () => {
  it('does not go to a programmer that somebody named alone after the approval (I16)', async () => {
    covers('I16');
    await approved();
    await decide('repair', { reason: 'other bench', programmer: other.uid });
    expect(await code('unlock', { nonce: freshNonce() }, other)).toBe('FOUR_EYES_REQUIRED');
    expect(await show()).toMatchObject({ unlock: 'requested' });
    await decide('repair/unlock/approve', {}, 'bob');
    expect(await code('unlock', { nonce: freshNonce() }, other)).toBe(200);
  });

  it('goes to the programmer that was named, with the approval of two people', async () => {
    covers('I16');
    const nonce = freshNonce();
    expect(await code('unlock', { nonce })).toBe('DEVICE_STATE');
    await decide('repair/unlock', { reason: 'does not boot' });
    expect(await code('unlock', { nonce })).toBe('FOUR_EYES_REQUIRED');
    expect(await codeOfDecision('repair/unlock/approve')).toBe('FOUR_EYES_REQUIRED');
    expect(await codeOfDecision('repair/unlock/approve', {}, 'pia')).toBe('FORBIDDEN');
    const { contentSha256 } = await show();
    expect(await codeOfDecision('repair/unlock/approve', { contentSha256: '00'.repeat(32) }, 'alice')).toBe('CONFLICT');
    await decide('repair/unlock/approve', { contentSha256 }, 'alice');
    expect(await code('unlock', { nonce }, other)).toBe('FORBIDDEN');
    expect(await show()).toMatchObject({ unlock: 'approved' });
    const { order, password } = await ask('unlock', { nonce });
    expect(await show()).toMatchObject({ unlock: 'disclosed' });

    const keys = (await authorityOf(plant.ctx)).packageKeys.map(({ publicKey }) => fromBase64url(publicKey));
    const expected = { operation: 'debugUnlock', uid: fromHex(chip.party.uid), objId: fromHex(chip.objId) } as const;
    const read = await verifyOrder(fromBase64url(order), { ...expected, nonce: fromBase64url(nonce) }, kid =>
      keys.find(key => equalBytes(keyIdOf(key), kid)),
    );
    expect(read.approvers).toEqual(['operator:olga', 'operator:alice']);
    expect(fromBase64url(password)).toHaveLength(32);
  });

  it('gives the password whose hash went into OTP, once; the same question in time gets the same answer', async () => {
    covers('I16', 'I19');
    await approved();
    const nonce = freshNonce();
    const first = await ask('unlock', { nonce });
    expect(await ask('unlock', { nonce })).toEqual(first);
    expect(await code('unlock', { nonce: freshNonce() })).toBe('PASSWORD_DISCLOSED');
    plant.moveClock(16 * minuteMs);
    expect(await code('unlock', { nonce })).toBe('PASSWORD_DISCLOSED');
    expect(sha256(fromBase64url(first.password))).toEqual(await unlockPasswordHash(plant.ctx, chip.party.uid));
    expect((await typesOf()).filter(type => type === 'DebugUnlockOrdered')).toHaveLength(1);
    expect(JSON.stringify(await plant.ctx.store.readAll(0, 100_000)).includes(first.password)).toBe(false);
  });

  it('is refused for a unit that has no hash of a password in OTP', async () => {
    chip = new Chip();
    await builder.build(chip);
    await decide('repair', { reason: 'dead display', programmer: builder.uid });
    expect(await codeOfDecision('repair/unlock', { reason: 'does not boot' })).toBe('DEVICE_STATE');
  });
});

describe('the return to service', () => {
  const nextKey = () => newParty(chip.party.uid);

  it('certifies a new key for the new registration id, and nothing else', async () => {
    covers('I3', 'I4', 'I6', 'T26');
    const next = nextKey();
    expect(await code('rekey', { nonce: freshNonce() })).toBe('DEVICE_STATE');
    await decide('repair/return');
    expect(await code('rekey', { nonce: freshNonce() }, other)).toBe('FORBIDDEN');
    const { objId } = await ask('rekey', { nonce: freshNonce() });
    expect(objId).not.toBe(chip.objId);
    expect((await ask('rekey', { nonce: freshNonce() })).objId).toBe(objId);
    expect(await code('csr', { csr: csrOf(next, chip.objId) })).toBe('CSR_SUBJECT');
    expect(await code('csr', { csr: csrOf(chip.party, objId) })).toBe('WEAK_OR_CLONED_KEY');
    expect(await code('csr', { csr: csrOf(next, objId) }, other)).toBe('FORBIDDEN');
    const issued = await ask('csr', { csr: csrOf(next, objId) });
    expect((await ask('csr', { csr: csrOf(next, objId) })).certificate).toBe(issued.certificate);
    expect(await code('csr', { csr: csrOf(nextKey(), objId) })).toBe('CONFLICT');
    expect(await show()).toMatchObject({ status: 'RMA', generation: 1, returning: 'certified' });
  });

  /** A next generation with its certificate, and what it would prove. */
  async function certified() {
    await decide('repair/return');
    const { objId } = await ask('rekey', { nonce: freshNonce() });
    const next = new Chip(nextKey());
    next.certified(await ask('csr', { csr: csrOf(next.party, objId) }));
    const id = fromHex(objId);
    const facts = { objId: id, otpMask: 0b11_1111, certificateSha256: sha256(next.certificate) };
    const receipt = (changes: Partial<Receipt> = {}, party = next.party, nonce = returnReceiptNonce(id)) =>
      receiptOf(party, nonce, { ...facts, ...changes });
    const evidence = (nonce = returnSessionNonce(id), signer = next.party.signer) => next.session(nonce, signer);
    return { objId, next, receipt, evidence };
  }

  it('counts when the new key has proven itself behind a closed debug port', async () => {
    covers('T9', 'T29');
    const { objId, receipt, evidence } = await certified();
    const good = { objId, receipt: await receipt(), evidence: await evidence() };
    const wrong = {
      open: { ...good, receipt: await receipt({ debugState: 'open' }) },
      'of the application': { ...good, receipt: await receipt({ stage: 'app' }) },
      'without boot keys': { ...good, receipt: await receipt({ otpMask: 0b11_1100 }) },
      'of the old certificate': { ...good, receipt: await receipt({ certificateSha256: sha256(chip.certificate) }) },
      'with another nonce': { ...good, receipt: await receipt({}, undefined, new Uint8Array(16)) },
    };
    for (const [what, proof] of Object.entries(wrong)) expect(await code('returned', proof), what).toBe('RECEIPT_REFUSED');
    expect(await code('returned', { ...good, receipt: await receipt({}, chip.party) })).toBe('COSE_SIGNATURE');
    expect(await code('returned', { ...good, evidence: await evidence(new Uint8Array(32)) })).toBe('SPDM_UNEXPECTED');
    expect(await code('returned', { ...good, evidence: await chip.session(returnSessionNonce(fromHex(objId))) })).toBe('CHAIN_REFUSED');
    expect(await code('returned', good, other)).toBe('FORBIDDEN');
    expect(await show()).toMatchObject({ status: 'RMA', generation: 1 });

    expect(await ask('returned', good)).toEqual({ status: 'IN_SERVICE' });
    expect(await ask('returned', good)).toEqual({ status: 'IN_SERVICE' });
    expect(await show()).toMatchObject({ status: 'IN_SERVICE', generation: 2, programmer: null });
  });

  it('ends the old certificates: they are refused, the new one is not', async () => {
    covers('T23', 'R86');
    const { objId, next, receipt, evidence } = await certified();
    const identify = (leaf: Uint8Array): string => {
      try {
        return plant.services.trust.judge(leaf).id;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    expect(identify(chip.certificate)).toBe('CERTIFICATE_REVOKED');
    await ask('returned', { objId, receipt: await receipt(), evidence: await evidence() });
    expect(identify(chip.certificate)).toBe('CERTIFICATE_REVOKED');
    expect(identify(next.certificate)).toBe(chip.party.uid);
    expect((await typesOf()).slice(-2)).toEqual(['CertificateRevoked', 'DeviceReturnedToService']);
  });

  it('is made by the programmer that was named last, and only an active one is named', async () => {
    covers('I17');
    const { objId, receipt, evidence } = await certified();
    const proof = { objId, receipt: await receipt(), evidence: await evidence() };
    await decide('repair', { reason: 'dead display', programmer: other.uid });
    expect(await code('returned', proof)).toBe('FORBIDDEN');
    expect(await codeOfDecision('repair', { reason: 'x', programmer: '00'.repeat(16) })).toBe('PROGRAMMER_NOT_ACTIVE');
    expect(await ask('returned', proof, other)).toEqual({ status: 'IN_SERVICE' });
  });
});
