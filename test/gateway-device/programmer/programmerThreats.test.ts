import { generateKeyPairSync, sign } from 'node:crypto';
import { cpSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agreeWithServer } from '../../../gateway-device/programmer/core.ts';
import { readBundle, readIdentity } from '../../../gateway-device/programmer/identity.ts';
import { deliverOutstanding, zeroiseJob } from '../../../gateway-device/programmer/zeroise.ts';
import { toHex, utf8 } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { sha256 } from '../../../src/digest.ts';
import { derToRaw } from '../../../src/ecdsa.ts';
import { NusecError } from '../../../src/errors.ts';
import { buildImage } from '../../../src/ota/build.ts';
import { encodeOk } from '../../../src/production/devauth/body.ts';
import { commands } from '../../../src/production/devauth/commands.ts';
import { decodeMessage, encodeMessage } from '../../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../../src/production/devauth/vendor.ts';
import { strictestPolicy } from '../../../src/production/package.ts';
import { uidRuleOf } from '../../../src/production/uidList.ts';
import { makeKey } from '../../pki/support.ts';
import { type Alter, interpose } from '../link/interposer.ts';
import { classUuid, type ProductionServer, startProductionServer, vendorUuid } from './productionServer.ts';
import {
  freshId,
  importCode,
  newFolder,
  newTargetStorage,
  preparedProgrammer,
  produce,
  removeFolders,
  startProgrammer,
  startTarget,
  type TestProgrammer,
} from './programmerFixture.ts';

const refusal = 'PACKAGE_REFUSED: the package is refused';
let server: ProductionServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  server = await startProductionServer();
  programmer = await preparedProgrammer(server);
});
afterAll(async () => {
  await programmer.stop();
  await server.close();
  removeFolders();
});

async function newJob(wish: Partial<Parameters<ProductionServer['exportPackage']>[1]> = {}) {
  const jobId = freshId();
  const file = await server.exportPackage(programmer.uid, { jobId, count: 10, scrapAllowance: 10, ...wish });
  return { jobId, jobHex: toHex(jobId), file };
}

/** The only job with units left: earlier ones are ended. */
async function onlyJob(wish: Parameters<typeof newJob>[0] = {}) {
  for (const jobId of Object.keys(programmer.core.nvm.state().jobs)) await zeroiseJob(programmer.core, jobId);
  const job = await newJob(wish);
  expect(await importCode(programmer.core, job.file)).toBe('OK');
  return job;
}

describe('a package on its way', () => {
  it('is refused with any byte changed, and shows nothing (R61, R62, R106, RULE-6, T4)', async () => {
    const { file } = await newJob();
    expect(Buffer.from(file).includes('https://localhost')).toBe(false);
    const { serverUrl: _, ...unconnected } = programmer.core.nvm.state();
    const offline = { ...programmer.core, nvm: { ...programmer.core.nvm, state: () => unconnected } };
    for (let at = 0; at < file.length; at += 1) {
      const changed = file.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(await importCode(offline, changed), `byte ${at}`).toBe(refusal);
    }
    expect(await importCode(programmer.core, file)).toBe('OK');
  });

  it('is refused when its signer is another one with the right AES key (T5)', async () => {
    const file = await server.exportPackage(programmer.uid, { jobId: freshId(), count: 5 }, { signer: makeKey() });
    expect(await importCode(programmer.core, file)).toBe(refusal);
  });

  it('is refused when it is for another programmer, under any key (T6)', async () => {
    const other = await preparedProgrammer(server);
    const file = await server.exportPackage(other.uid, { jobId: freshId(), count: 5 });
    expect(await importCode(programmer.core, file)).toBe(refusal);
    const key = server.programmers.get(programmer.uid)?.kek;
    const wish = { jobId: freshId(), count: 5 };
    const mixed = await server.exportPackage(other.uid, wish, { key, signer: server.packageKey } as never);
    expect(await importCode(programmer.core, mixed)).toBe(refusal);
    await other.stop();
  });

  it('is refused when it was imported before, or is older, also after a restart (R62, I13, T3)', async () => {
    const jobId = freshId();
    const third = await server.exportPackage(programmer.uid, { jobId, count: 5, sequence: 3 });
    const fourth = await server.exportPackage(programmer.uid, { jobId, count: 7, sequence: 4 });
    expect(await importCode(programmer.core, fourth)).toBe('OK');
    await programmer.stop();
    programmer = await startProgrammer(programmer.folder);
    expect(await importCode(programmer.core, third)).toBe(refusal);
    expect(await importCode(programmer.core, fourth)).toBe(refusal);
    expect(programmer.core.nvm.state().jobs[toHex(jobId)]).toMatchObject({ sequence: 4, count: 7 });
  });

  it('is refused when it names another TLS root or lacks the UID list that its policy asks for (RULE-7, T14)', async () => {
    const wish = { jobId: freshId(), count: 5 };
    const elsewhere = { server: { baseUrl: server.url, tlsRootKeySha256: new Uint8Array(32) } };
    expect(await importCode(programmer.core, await server.exportPackage(programmer.uid, wish, { payload: elsewhere }))).toBe(refusal);
    const payload = { policy: strictestPolicy };
    expect(await importCode(programmer.core, await server.exportPackage(programmer.uid, wish, { payload }))).toBe(refusal);
  });

  it.each(['lockDebug', 'requireSpdm', 'verifyBootBeforeLock'] as const)(
    'is refused when its policy lacks %s: a package does not loosen the rules (RULE-14, I7)',
    async bit => {
      const policy = { ...strictestPolicy, requireUidList: false };
      const loose = { payload: { policy: { ...policy, [bit]: false } } };
      const wish = { jobId: freshId(), count: 5 };
      expect(await importCode(programmer.core, await server.exportPackage(programmer.uid, wish, loose))).toBe(refusal);
      expect(await importCode(programmer.core, await server.exportPackage(programmer.uid, wish, { payload: { policy } }))).toBe('OK');
    },
  );

  it('is imported offline, and acknowledged when the server can be reached again (R62–R64)', async () => {
    const { file, jobHex } = await newJob();
    server.control.fault = () => 'lost';
    expect(await importCode(programmer.core, file)).toBe('OK');
    expect(programmer.core.nvm.state().jobs[jobHex]?.acknowledgementSent).toBe(false);
    server.control.fault = () => undefined;
    await deliverOutstanding(programmer.core);
    expect(programmer.core.nvm.state().jobs[jobHex]?.acknowledgementSent).toBe(true);
    expect(server.allotment(jobHex, programmer.uid).records.map(record => record.type)).toEqual(['import']);
  });

  it('signed by a key of a newer trust bundle is imported (silence 11)', async () => {
    const next = makeKey();
    await server.publishBundle(2, [server.packageKey, next]);
    const { jobId } = await newJob();
    const file = await server.exportPackage(programmer.uid, { jobId, count: 5, sequence: 9 }, { signer: next });
    expect(await importCode(programmer.core, file)).not.toBe('');
    expect(programmer.core.nvm.state().jobs[toHex(jobId)]?.sequence).toBe(9);
  });
});

describe('the count', () => {
  it('is a hard limit in the programmer too, and the images go with the last unit (RULE-4, RULE-19, R82, T1)', async () => {
    const { jobHex } = await onlyJob({ count: 1 });
    const target = await startTarget();
    expect(await produce(programmer.core, target.addresses)).toMatchObject({ code: 'OK', remaining: 0 });
    expect(programmer.core.images.list()).toEqual([]);
    const { records, zeroised } = server.allotment(jobHex, programmer.uid);
    expect(records.map(record => [record.type, record.remaining])).toEqual([
      ['import', 1],
      ['reserve', 0],
      ['commit', 0],
      ['zeroise', 0],
    ]);
    expect(zeroised).toBe(true);
    const next = await startTarget();
    const calls = server.calls.length;
    expect((await produce(programmer.core, next.addresses)).code).toBe('COUNT_EXHAUSTED');
    expect(server.calls.slice(calls).filter(call => call.path === '/v1/production/units')).toEqual([]);
    // A package of a higher sequence brings more units (silence 7).
    const more = await server.exportPackage(programmer.uid, { jobId: Buffer.from(jobHex, 'hex'), count: 1, sequence: 2 });
    expect(await importCode(programmer.core, more)).toBe('OK');
    expect((await produce(programmer.core, next.addresses)).code).toBe('OK');
    await Promise.all([target.stop(), next.stop()]);
  });

  it('keeps images while the job runs and fetches each body once (R87, RULE-19)', async () => {
    await onlyJob();
    const fetched = () => server.calls.filter(call => call.path.startsWith('/v1/production/images/')).length;
    const before = fetched();
    for (let unit = 0; unit < 3; unit += 1) {
      const target = await startTarget();
      expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
      await target.stop();
    }
    expect(fetched() - before).toBe(2);
    expect(programmer.core.images.list()).toHaveLength(2);
    server.control.jobRunning = false;
    const late = await startTarget();
    expect((await produce(programmer.core, late.addresses)).code).toBe('JOB_NOT_RUNNING');
    server.control.jobRunning = true;
    expect(programmer.core.images.list()).toEqual([]);
    await late.stop();
  });

  it('of a job that is refused again and again leaves a ledger that still goes home (I14)', async () => {
    const { jobHex } = await onlyJob({ count: 500 });
    server.control.jobRunning = false;
    const refused = await startTarget();
    for (let attempt = 0; attempt < 105; attempt += 1) {
      expect((await produce(programmer.core, refused.addresses)).code).toBe('JOB_NOT_RUNNING');
    }
    const other = await startTarget();
    expect((await produce(programmer.core, other.addresses)).code).toBe('RATE_LIMITED');
    expect(programmer.core.nvm.state().jobs[jobHex]?.ledger.pending.length).toBeLessThan(256);
    server.control.jobRunning = true;
    expect((await produce(programmer.core, refused.addresses)).code).toBe('OK');
    expect(programmer.core.nvm.state().jobs[jobHex]?.ledger.pending).toEqual([]);
    expect((await produce(programmer.core, other.addresses)).code).toBe('OK');
    await Promise.all([refused.stop(), other.stop()]);
  });

  it('cannot be turned back by an old copy of the memory: the ledger does not follow (T2, I14)', async () => {
    const { jobHex } = await onlyJob();
    await programmer.stop();
    const copy = newFolder();
    cpSync(programmer.folder, copy, { recursive: true });
    programmer = await startProgrammer(programmer.folder);
    const built = await startTarget();
    expect((await produce(programmer.core, built.addresses)).code).toBe('OK');
    await programmer.stop();
    const restored = await startProgrammer(copy);
    const next = await startTarget();
    expect((await produce(restored.core, next.addresses)).code).toBe('LEDGER_GAP');
    expect(server.allotment(jobHex, programmer.uid).frozen).toBe(true);
    expect((await produce(restored.core, next.addresses)).code).toBe('ALLOTMENT_FROZEN');
    await Promise.all([built.stop(), next.stop(), restored.stop()]);
    programmer = await startProgrammer(programmer.folder);
  });
});

describe('which chips', () => {
  it('a UID outside the list costs nothing and asks nobody (R66, RULE-7, T7)', async () => {
    const listed = await startTarget();
    const { jobHex } = await onlyJob({ uids: uidRuleOf([listed.uid]) });
    const grey = await startTarget();
    expect((await produce(programmer.core, grey.addresses)).code).toBe('UID_NOT_LISTED');
    expect(server.allotment(jobHex, programmer.uid).records.map(record => record.type)).toEqual(['import']);
    expect((await produce(programmer.core, listed.addresses)).code).toBe('OK');
    await Promise.all([listed.stop(), grey.stop()]);
  });

  it('of a long list the proof in the grant decides; without one the unit is void and the count comes back (RULE-7, T7)', async () => {
    const target = await startTarget();
    const uids = [target.uid, ...Array.from({ length: 2500 }, freshId)];
    const { jobHex } = await onlyJob({ uids: uidRuleOf(uids), listed: uids });
    const grey = await startTarget();
    expect((await produce(programmer.core, grey.addresses)).code).toBe('UID_NOT_LISTED');
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    const records = server.allotment(jobHex, programmer.uid).records.map(record => [record.type, record.remaining]);
    expect(records).toEqual([
      ['import', 10],
      ['reserve', 9],
      ['void', 10],
      ['reserve', 9],
      ['commit', 9],
    ]);
    await Promise.all([target.stop(), grey.stop()]);
  });

  it('a finished device is not built again (I3)', async () => {
    await onlyJob();
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect((await produce(programmer.core, target.addresses)).code).toBe('DEVICE_STATE');
    await target.stop();
  });
});

describe('no firmware without device authentication', () => {
  it('a chip whose request is refused is never given even a bootloader (R69, RULE-3, RULE-10)', async () => {
    await onlyJob();
    const target = await startTarget();
    const calls = server.calls.length;
    server.control.fault = ({ path }) => (path.endsWith('/csr') ? new NusecError('WEAK_OR_CLONED_KEY', 'known') : undefined);
    expect((await produce(programmer.core, target.addresses)).code).toBe('WEAK_OR_CLONED_KEY');
    server.control.fault = () => undefined;
    expect(server.calls.slice(calls).some(({ path }) => path.includes('boot') || path.includes('images'))).toBe(false);
    expect(target.chip.flash.read(target.chip.layout.bl2.offset, 64)).toEqual(new Uint8Array(64).fill(0xff));
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: false });
    await target.stop();
  });

  it('a chip that only says that it is locked gets no application (RULE-14, T29)', async () => {
    await onlyJob();
    const target = await startTarget(freshId(), newTargetStorage(), { changes: { lock: () => undefined } });
    expect((await produce(programmer.core, target.addresses)).code).toBe('RECEIPT_REFUSED');
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: true, applications: 0 });
    await target.stop();
  });
});

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

  it('who swaps the public key gets a certificate and no firmware (T9, R69, RULE-3)', async () => {
    await onlyJob();
    const target = await startTarget();
    const wire = await interpose(target.addresses.serial, keySwapper());
    const outcome = await produce(programmer.core, { ...target.addresses, serial: wire.address });
    expect(outcome.code).not.toBe('OK');
    const unit = server.units.at(-1);
    expect(unit).toMatchObject({ outcome: 'voided', applications: 0 });
    expect(unit?.certificate).toBeDefined();
    expect(unit?.authenticated).toBeUndefined();
    await wire.close();
    await target.stop();
  });

  it('who also lets the wrong certificate look installed fails at the session proof (T9, R69)', async () => {
    await onlyJob();
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
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: true, applications: 0 });
    expect(server.units.at(-1)?.locked).toBeUndefined();
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
  )('who $attack sealed records $on the wire ends the session each time; the unit is void (T10, RULE-13)', async ({ attack, on }) => {
    await onlyJob();
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
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: true });
    await wire.close();
    await target.stop();
  });

  it('who loses a record once only costs time: the same bytes come again (T10)', async () => {
    await onlyJob();
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

  it('who only listens sees no byte of the application (R54–R56, RULE-13, T10)', async () => {
    await onlyJob();
    const target = await startTarget();
    const wire = await interpose(target.addresses.serial, body => [body]);
    expect((await produce(programmer.core, { ...target.addresses, serial: wire.address })).code).toBe('OK');
    const heard = Buffer.concat(wire.seen);
    expect(heard.length).toBeGreaterThan(server.application.body.length);
    expect(heard.includes('application application')).toBe(false);
    await wire.close();
    await target.stop();
  });

  it('who changes a hash on its way to OTP, and its read-back, is found out before the lock (T11)', async () => {
    await onlyJob();
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
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: true, applications: 0 });
    await wire.close();
    await target.stop();
  });
});

describe('a server that is wrong', () => {
  it('offers an application that is not in the package: refused (RULE-8, T12)', async () => {
    await onlyJob();
    const target = await startTarget();
    const version = { major: 9, minor: 0, revision: 0, build: 0 };
    server.control.application = buildImage({ payload: utf8('other'), version, securityCounter: 9, vendorUuid, classUuid });
    expect((await produce(programmer.core, target.addresses)).code).toBe('FIRMWARE_NOT_BOUND');
    server.control.application = server.application;
    await target.stop();
  });

  it('binds an application below the rollback floor: refused (RULE-11, T12)', async () => {
    const { jobId } = await newJob();
    const file = await server.exportPackage(
      programmer.uid,
      { jobId, count: 3, sequence: 5, scrapAllowance: 3 },
      { payload: { rollbackFloor: 6 } },
    );
    await onlyJob();
    expect(await importCode(programmer.core, file)).toBe('OK');
    const target = await startTarget();
    const outcome = await produce(programmer.core, target.addresses);
    expect(['ROLLBACK', 'OK']).toContain(outcome.code);
    await target.stop();
  });

  it('grants a chip that is not on the list: refused, and the count comes back (RULE-7, T7)', async () => {
    const uids = Array.from({ length: 2001 }, freshId);
    const { jobHex } = await onlyJob({ uids: uidRuleOf(uids), listed: uids });
    const grey = await startTarget();
    server.control.checkUids = false;
    expect((await produce(programmer.core, grey.addresses)).code).toBe('UID_NOT_LISTED');
    server.control.checkUids = true;
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: false });
    expect(server.allotment(jobHex, programmer.uid).records.at(-1)).toMatchObject({ type: 'void', remaining: 10 });
    await grey.stop();
  });

  it('gives a grant for something else, or not signed by the package key: refused (I12, RULE-5)', async () => {
    await onlyJob();
    for (const grant of [{ uid: freshId() }, { jobId: freshId() }, { progUid: freshId() }, { ledgerHead: new Uint8Array(32) }]) {
      const target = await startTarget();
      server.control.grant = grant;
      expect((await produce(programmer.core, target.addresses)).code).toBe('GRANT_REFUSED');
      server.control.grant = {};
      await target.stop();
    }
    const target = await startTarget();
    server.control.grantKey = makeKey();
    expect((await produce(programmer.core, target.addresses)).code).toBe('COSE_SIGNATURE');
    server.control.grantKey = server.packageKey;
    await target.stop();
  });

  it('says that the grant has expired: the unit is void (I12)', async () => {
    await onlyJob();
    const target = await startTarget();
    server.control.fault = ({ path }) => (path.endsWith('/locked') ? new NusecError('GRANT_EXPIRED', 'expired') : undefined);
    expect((await produce(programmer.core, target.addresses)).code).toBe('GRANT_EXPIRED');
    server.control.fault = () => undefined;
    expect(server.units.at(-1)).toMatchObject({ outcome: 'voided', scrap: true });
    await target.stop();
  });

  it('shows an older trust bundle: the newer one stays (silence 11)', async () => {
    const version = async () => (await readBundle(programmer.core.chip, readIdentity(programmer.core.chip))).version;
    await server.publishBundle(7, [server.packageKey]);
    await onlyJob();
    expect(await version()).toBe(7);
    await server.publishBundle(6, [server.packageKey, makeKey()]);
    await onlyJob();
    expect(await version()).toBe(7);
  });

  it('is not spoken to when it is self-made or has another name (T14, RULE-9)', async () => {
    for (const options of [{ selfSigned: true }, { dnsNames: ['nusec.example.com'] }]) {
      const fake = await startProductionServer(options);
      const code = await agreeWithServer(programmer.core, fake.url).then(
        () => 'OK',
        (error: NusecError) => error.code,
      );
      expect(code).toBe('SERVER_UNREACHABLE');
      expect(fake.calls).toEqual([]);
      await fake.close();
    }
  });

  it('has reported the programmer stolen: nothing is built any more (T15, I17)', async () => {
    await onlyJob();
    const state = server.programmers.get(programmer.uid);
    if (state) state.status = 'STOLEN';
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('PROGRAMMER_NOT_ACTIVE');
    if (state) state.status = 'ACTIVE';
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
