import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url, toBase64url } from '../../src/bytes.ts';
import { sha256Hex } from '../../src/digest.ts';
import type { Machine } from '../../src/services/identity/machines.ts';
import { agreeKek as beginAgreement, confirmKek, shareAgreements } from '../../src/services/production/kek.ts';
import { agreeKek, csrOf, lockedProgrammer, newParty, newUid, receiptOf } from '../services/parties.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
});
afterAll(() => plant.close());

const statusOf = async (uid: string) => (await plant.ask('olga', 'GET', `/v1/programmers/${uid}`)).status;

describe('a programmer is prepared', () => {
  it('walks from blank to active (R34)', async () => {
    covers('R34');
    const programmer = await lockedProgrammer(plant);
    expect(await statusOf(programmer.uid)).toBe('LOCKED');
    const { epoch } = await agreeKek(plant, programmer);
    expect(epoch).toBe(1);
    expect(await statusOf(programmer.uid)).toBe('READY');
    await plant.ask('olga', 'POST', `/v1/programmers/${programmer.uid}/ship`, { to: 'CM Penang' });
    expect(await plant.ask(programmer.certificate, 'POST', `/v1/programmers/${programmer.uid}/check-in`)).toEqual({ status: 'ACTIVE' });
    const { programmers } = await plant.ask('aldo', 'GET', '/v1/programmers?limit=500');
    expect(programmers).toContainEqual({
      uid: programmer.uid,
      name: 'NuLink3 test',
      status: 'ACTIVE',
      firmwareVersion: '1.0.0',
      kekEpoch: 1,
      shippedTo: 'CM Penang',
    });
  });

  it('gives the same certificate and boot key when asked again, and refuses another key', async () => {
    const party = newParty();
    const path = `/v1/programmers/${party.uid}`;
    await plant.ask('olga', 'POST', '/v1/programmers', { uid: party.uid, name: 'x' });
    const first = await plant.ask('olga', 'POST', `${path}/csr`, { csr: csrOf(party) });
    expect(await plant.ask('olga', 'POST', `${path}/csr`, { csr: csrOf(party) })).toEqual(first);
    expect(await plant.code('olga', 'POST', `${path}/csr`, { csr: csrOf(newParty(party.uid)) })).toBe('CONFLICT');
    expect(await plant.code('olga', 'POST', `${path}/csr`, { csr: csrOf(party), publicKey: toBase64url(newParty().spki.slice(-65)) })).toBe(
      'KEY_REFUSED',
    );
    const key = await plant.ask('olga', 'POST', `${path}/boot-key`);
    expect(await plant.ask('olga', 'POST', `${path}/boot-key`)).toEqual(key);
  });

  it('locks only with a receipt that proves lock, key and firmware (R26)', async () => {
    covers('R26');
    const party = newParty();
    const path = `/v1/programmers/${party.uid}`;
    await plant.ask('olga', 'POST', '/v1/programmers', { uid: party.uid, name: 'x' });
    await plant.ask('olga', 'POST', `${path}/csr`, { csr: csrOf(party) });
    await plant.ask('olga', 'POST', `${path}/boot-key`);
    const nonce = new Uint8Array(randomBytes(16));
    const lock = async (signer: typeof party, facts: Parameters<typeof receiptOf>[2]) => {
      const receipt = await receiptOf(signer, nonce, { stage: 'programmer', ...facts });
      return plant.code('olga', 'POST', `${path}/locked`, { receipt, nonce: toBase64url(nonce) });
    };
    expect(await lock(party, { debugState: 'open' })).toBe('RECEIPT_REFUSED');
    expect(await lock(party, { otpMask: 1 })).toBe('RECEIPT_REFUSED');
    expect(await lock(party, {})).toBe('RECEIPT_REFUSED');
    expect(await lock(newParty(party.uid), {})).toBe('COSE_SIGNATURE');
    expect(await statusOf(party.uid)).toBe('CERTIFIED');
  });

  it('needs a security officer', async () => {
    expect(await plant.code('pia', 'POST', '/v1/programmers', { uid: newUid(), name: 'x' })).toBe('FORBIDDEN');
  });
});

describe('AES_NuLink3', () => {
  it('rises by epochs, and every attempt has its own (R34)', async () => {
    covers('R34');
    const programmer = await lockedProgrammer(plant);
    const path = `/v1/programmers/${programmer.uid}/kek`;
    const lost = { publicKey: toBase64url(newParty().spki.slice(-65)), nonce: toBase64url(randomBytes(16)) };
    const answer = await plant.ask(programmer.certificate, 'POST', path, lost);
    expect(await plant.ask(programmer.certificate, 'POST', path, lost)).toEqual(answer);
    expect(await plant.code(programmer.certificate, 'PUT', `${path}/1`, { mac: toBase64url(randomBytes(32)) })).toBe('KEY_REFUSED');
    expect(await statusOf(programmer.uid)).toBe('LOCKED');
    expect((await agreeKek(plant, programmer)).epoch).toBe(2);
    expect((await agreeKek(plant, programmer)).epoch).toBe(3);
    const ids = (await plant.ctx.keystore.list()).map(key => key.id).filter(id => id.includes(programmer.uid));
    expect(ids.sort()).toEqual([2, 3].map(epoch => `programmer-kek/${programmer.uid}/${epoch}`));
  });

  it('is agreed also when its halves come to different server processes', async () => {
    const programmer = await lockedProgrammer(plant);
    const other: typeof plant.ctx = { ...plant.ctx };
    const heard: ((value: unknown) => void)[] = [];
    shareAgreements(plant.ctx, {
      notify: (_topic, value) => heard[0]?.(structuredClone(value)),
      onNotice: () => undefined,
    });
    shareAgreements(other, { notify: () => undefined, onNotice: (_topic, listener) => heard.push(listener as (value: unknown) => void) });
    const machine = { kind: 'programmer', id: programmer.uid, certificateSha256: sha256Hex(programmer.certificate) } as Machine;
    const halves: Pick<Plant, 'call' | 'ask' | 'code'> = {
      ...plant,
      async ask(_who, method, _path, body) {
        const bytes = (name: string) => fromBase64url((body as Record<string, string>)[name] ?? '');
        if (method === 'PUT') return confirmKek(other, machine, 1, bytes('mac'), `programmer:${programmer.uid}`);
        const { epoch, ...answer } = await beginAgreement(plant.ctx, machine, { publicKey: bytes('publicKey'), nonce: bytes('nonce') });
        return { epoch, ...Object.fromEntries(Object.entries(answer).map(([name, value]) => [name, toBase64url(value)])) };
      },
    };
    expect((await agreeKek(halves, programmer)).epoch).toBe(1);
    expect(await statusOf(programmer.uid)).toBe('READY');
  });

  it('is agreed with the certificate’s own programmer only (RULE-9)', async () => {
    covers('RULE-9');
    const [one, other] = [await lockedProgrammer(plant), await lockedProgrammer(plant)];
    expect(await plant.code(one.certificate, 'POST', `/v1/programmers/${other.uid}/check-in`)).toBe('FORBIDDEN');
    expect(await plant.code('alice', 'POST', `/v1/programmers/${other.uid}/check-in`)).toBe('CLIENT_CERTIFICATE_REQUIRED');
  });
});

describe('a programmer that is lost', () => {
  it('is refused within one request when stolen (T15)', async () => {
    covers('T15');
    const programmer = await lockedProgrammer(plant);
    await plant.ask('olga', 'POST', `/v1/programmers/${programmer.uid}/stolen`, { note: 'truck was robbed' });
    expect(await plant.code(programmer.certificate, 'POST', `/v1/programmers/${programmer.uid}/check-in`)).toBe('CERTIFICATE_REVOKED');
  });

  it('is on hold while suspended and comes back when resumed', async () => {
    const programmer = await lockedProgrammer(plant);
    const path = `/v1/programmers/${programmer.uid}`;
    await agreeKek(plant, programmer);
    await plant.ask('olga', 'POST', `${path}/ship`, { to: 'CM' });
    await plant.ask(programmer.certificate, 'POST', `${path}/check-in`);
    await plant.ask('olga', 'POST', `${path}/suspend`, { reason: 'audit' });
    expect(await plant.code(programmer.certificate, 'POST', `${path}/check-in`)).toBe('CERTIFICATE_REVOKED');
    await plant.ask('olga', 'POST', `${path}/resume`);
    expect(await plant.ask(programmer.certificate, 'POST', `${path}/check-in`)).toEqual({ status: 'ACTIVE' });
  });
});
