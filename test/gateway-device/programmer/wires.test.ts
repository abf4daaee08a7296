import { generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { sha256 } from '../../../src/digest.ts';
import { derToRaw } from '../../../src/ecdsa.ts';
import { encodeOk } from '../../../src/production/devauth/body.ts';
import { commands } from '../../../src/production/devauth/commands.ts';
import { decodeMessage, encodeMessage } from '../../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../../src/production/devauth/vendor.ts';
import { setAttestationPolicy } from '../../../src/services/firmware/lines.ts';
import { requestCode } from '../../../src/spdm/constants.ts';
import { covers } from '../../support/covers.ts';
import { type Alter, busyOnce, interpose } from '../link/interposer.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { freshId, onlyJob, produce, startTarget, type TestProgrammer } from './programmerFixture.ts';

let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  ({ server, programmer } = await startLine());
});
afterAll(() => endLine({ server, programmer }));

const job = () => onlyJob(server, programmer);
const lastUnit = async (jobId: string) => (await server.units(jobId, programmer.uid)).at(-1);

describe('an interposer on the wires of the target', () => {
  /** Answers KEYGEN and SIGN_CRI with a key of its own: a certificate for the wrong key is issued, genuinely. */
  const keySwapper = (): Alter => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const own = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })).slice(-64);
    let request: Uint8Array | undefined;
    let cri: Uint8Array | undefined;
    return (body, direction) => {
      const message = openVendor(body);
      if (!message) return [body];
      if (direction === 'down' && message.command === commands.signCri.id) {
        ({ cri } = decodeAs(commands.signCri.request, message.body));
        request = body;
        // The chip would refuse it (T28); it is asked something harmless so that an answer comes.
        return [
          sealVendor({
            ...message,
            op: 0,
            command: commands.hello.id,
            body: encodeAs(commands.hello.request, { version: 1, nonce: freshId() }),
          }),
        ];
      }
      if (direction === 'up' && message.command === commands.keygen.id) {
        return [sealVendor({ ...message, body: encodeOk(commands.keygen.response, { publicKey: own, keySlot: 0, entropyBits: 256 }) })];
      }
      if (direction === 'up' && request && cri) {
        const signature = derToRaw(new Uint8Array(sign('sha256', cri, privateKey)), 32) ?? new Uint8Array();
        request = undefined;
        return [sealVendor({ ...message, op: 3, command: commands.signCri.id, body: encodeOk(commands.signCri.response, { signature }) })];
      }
      return [body];
    };
  };

  it('finds a programmer that waits for a chip which is busy, and builds the unit (R50)', async () => {
    covers('R50');
    await job();
    const target = await startTarget();
    const left = new Set<number>([requestCode.challenge, requestCode.keyExchange]);
    const wire = await interpose(target.addresses.serial, busyOnce(left));
    expect(await produce(programmer.core, { ...target.addresses, serial: wire.address })).toMatchObject({ code: 'OK' });
    expect(left.size).toBe(0);
    await wire.close();
    await target.stop();
  });

  it('leads to a session as the line of the unit has it asked; a chip that the line does not allow waits until the line is mended (R50, R84)', async () => {
    covers('R50', 'R84');
    const { jobId } = await job();
    const allow = (wish: Parameters<typeof setAttestationPolicy>[2]) => setAttestationPolicy(server.ctx, 'meter', wish, 'operator:olga');
    const kept = { outcome: 'open', isAuthenticated: false, hasApplication: false };
    for (const [asked, mended, step] of [
      [{ leastVersion: '1.4' }, { leastVersion: '1.2' }, 11],
      [{ requires: ['ALIAS_CERT'] }, { requires: [] }, 13],
    ] as const) {
      await allow(asked);
      const target = await startTarget();
      const refused = await produce(programmer.core, target.addresses);
      expect(refused.steps.filter(name => name.startsWith(`${step} failed`)).join()).toContain('SPDM_UNSUPPORTED');
      expect(await lastUnit(jobId)).toMatchObject(kept);
      await allow(mended);
      expect(await produce(programmer.core, target.addresses)).toMatchObject({ code: 'OK' });
      expect(await lastUnit(jobId)).toMatchObject({ outcome: 'committed' });
      await target.stop();
    }
  });

  it('is not void when the line asks for something else since it got its certificate (R84)', async () => {
    covers('R84');
    const { jobId } = await job();
    const allow = (name: 'P-256' | 'P-384') => setAttestationPolicy(server.ctx, 'meter', { signatures: [name] }, 'operator:olga');
    await allow('P-256');
    let changed: Promise<unknown> | undefined;
    server.proxy.fail(({ name }) => {
      if (name === 'application-key') changed ??= allow('P-384');
      return undefined;
    });
    const target = await startTarget();
    const refused = await produce(programmer.core, target.addresses);
    server.proxy.heal();
    await changed;
    // The server says that it was asked for less, and then the chip that it does not speak what it is asked for.
    const failures = refused.steps.filter(name => name.startsWith('13 failed'));
    expect(failures.map(name => /SPDM_UNSUPPORTED: .*/.exec(name)?.[0])).toEqual([
      expect.stringContaining('ask it again'),
      expect.anything(),
    ]);
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'open', hasApplication: false });
    await allow('P-256');
    expect(await produce(programmer.core, target.addresses)).toMatchObject({ code: 'OK' });
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'committed' });
    await setAttestationPolicy(server.ctx, 'meter', { signatures: ['P-256', 'P-384'] }, 'operator:olga');
    await target.stop();
  });

  it('who swaps the public key gets a certificate and no firmware (T9, R69, RULE-3)', async () => {
    covers('T9', 'R69', 'RULE-3');
    const { jobId } = await job();
    const target = await startTarget();
    const wire = await interpose(target.addresses.serial, keySwapper());
    const outcome = await produce(programmer.core, { ...target.addresses, serial: wire.address });
    expect(outcome.code).not.toBe('OK');
    const unit = { outcome: 'voided', isCertified: true, isAuthenticated: false, hasApplication: false };
    expect(await lastUnit(jobId)).toMatchObject(unit);
    await wire.close();
    await target.stop();
  });

  it('who also lets the wrong certificate look installed fails at the session proof (T9, R69)', async () => {
    covers('T9', 'R69');
    const { jobId } = await job();
    const target = await startTarget();
    const swap = keySwapper();
    // The chip refuses the foreign certificate (policy); the interposer says that it was taken.
    const wire = await interpose(target.addresses.serial, (body, direction) => {
      const message = openVendor(body);
      if (direction === 'up' && message?.command === commands.put.id && message.body.length < 8) {
        const nextOffset = lastPut;
        return [sealVendor({ ...message, body: encodeOk(commands.put.response, { nextOffset }) })];
      }
      if (direction === 'down' && message?.command === commands.put.id) {
        const { offset, data } = decodeAs(commands.put.request, message.body);
        lastPut = offset + data.length;
      }
      return swap(body, direction);
    });
    let lastPut = 0;
    const outcome = await produce(programmer.core, { ...target.addresses, serial: wire.address });
    expect(outcome.steps.filter(step => step.startsWith('11 failed')).length).toBeGreaterThan(0);
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'voided', scrap: true, isLocked: false, hasApplication: false });
    await wire.close();
    await target.stop();
  });

  /** Sealed messages of each direction while the target asks the programmer who it is; FINISH is the last. */
  const handshakeRecords = 4;
  const attacks: Readonly<Record<string, (records: readonly Uint8Array[]) => Uint8Array>> = {
    flips: records => last(records).with(20, (last(records)[20] ?? 0) ^ 1),
    cuts: records => last(records).slice(0, -1),
    repeats: records => records.at(-2) ?? last(records),
    reorders: records => records.at(-3) ?? last(records),
  };
  const last = (records: readonly Uint8Array[]): Uint8Array => records.at(-1) ?? new Uint8Array();

  it.each(
    Object.keys(attacks).flatMap(attack => [
      { attack, on: 'down' as const },
      { attack, on: 'up' as const },
    ]),
  )('who $attack sealed records $on the wire ends the session each time; the unit is void (T10)', async ({ attack, on }) => {
    covers('T10');
    const { jobId } = await job();
    const target = await startTarget();
    let records: Uint8Array[] = [];
    const wire = await interpose(target.addresses.serial, (body, direction) => {
      const isSpdmStart = body[0] === 0x05;
      if (isSpdmStart) records = [];
      if (body[0] !== 0x06 || direction !== on) return [body];
      records.push(body);
      return [records.length > handshakeRecords + 2 ? (attacks[attack]?.(records) ?? body) : body];
    });
    const outcome = await produce(programmer.core, { ...target.addresses, serial: wire.address });
    expect(outcome.code).toBe('SPDM_RECORD');
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'voided', scrap: true });
    await wire.close();
    await target.stop();
  });

  it('who loses a record once only costs time: the same bytes come again (T10)', async () => {
    covers('T10');
    await job();
    const target = await startTarget();
    let lost = false;
    const wire = await interpose(target.addresses.serial, (body, direction) => {
      if (body[0] !== 0x06 || direction !== 'up' || lost) return [body];
      lost = true;
      return [];
    });
    expect((await produce(programmer.core, { ...target.addresses, serial: wire.address })).code).toBe('OK');
    await wire.close();
    await target.stop();
  });

  it('who only listens sees no byte of the application, which the target has in flash (R54, R55, R56, R109, RULE-13, T10)', async () => {
    covers('R54', 'R55', 'R56', 'R109', 'RULE-13', 'T10');
    const { jobId } = await job();
    const target = await startTarget();
    const wire = await interpose(target.addresses.serial, body => [body]);
    expect((await produce(programmer.core, { ...target.addresses, serial: wire.address })).code).toBe('OK');
    const body = Buffer.from(await server.image(jobId, 'app'));
    const heard = Buffer.concat(wire.seen);
    expect(heard.length).toBeGreaterThan(body.length);
    for (let at = 0; at + 16 <= body.length; at += 16) expect(heard.includes(body.subarray(at, at + 16)), `byte ${at}`).toBe(false);
    expect(target.chip.flash.read(target.chip.layout.primary.offset, body.length)).toEqual(new Uint8Array(body));
    await wire.close();
    await target.stop();
  });

  it('who changes a hash on its way to OTP, and its read-back, is found out before the lock (T11)', async () => {
    covers('T11');
    const { jobId } = await job();
    const target = await startTarget();
    const wanted = new Map<number, Uint8Array>();
    const wire = await interpose(target.addresses.serial, (body, direction) => {
      const message = openVendor(body);
      if (message?.command !== commands.otp.id) return [body];
      if (direction === 'up') {
        const value = wanted.get(message.sequence);
        const lie = value && { sha256: sha256(value) };
        return [lie ? sealVendor({ ...message, body: encodeOk(commands.otp.response, lie) }) : body];
      }
      const request = decodeAs(commands.otp.request, message.body);
      if (request.slot !== 3) return [body];
      wanted.set(message.sequence, request.value);
      const changed = { ...request, value: new Uint8Array(32).fill(0x66) };
      return [sealVendor({ ...message, body: encodeAs(commands.otp.request, changed) })];
    });
    expect((await produce(programmer.core, { ...target.addresses, serial: wire.address })).code).toBe('ATTESTATION_FAILED');
    expect(target.chip.debugState()).toBe('open');
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'voided', scrap: true, hasApplication: false });
    await wire.close();
    await target.stop();
  });
});

function openVendor(body: Uint8Array) {
  try {
    return decodeMessage(decodeVendorMessage(body).message);
  } catch {
    return undefined;
  }
}

const sealVendor = (message: Parameters<typeof encodeMessage>[0]): Uint8Array =>
  encodeVendorMessage(encodeMessage(message), { integrityCheck: true });
