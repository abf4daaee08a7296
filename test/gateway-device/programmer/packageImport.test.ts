import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { giveUpUnit } from '../../../gateway-device/programmer/giveUp.ts';
import { jobOf, remainingUnits } from '../../../gateway-device/programmer/nvm.ts';
import { deliverOutstanding } from '../../../gateway-device/programmer/outstanding.ts';
import { importPackage } from '../../../gateway-device/programmer/packageImport.ts';
import { produceUnit } from '../../../gateway-device/programmer/produce.ts';
import { fromHex, toHex, utf8 } from '../../../src/bytes.ts';
import { remainingUnits as allotmentLeft } from '../../../src/domain/allotmentState.ts';
import { strictestPolicy } from '../../../src/production/package.ts';
import { carryOut } from '../../../src/services/administration/caGenerations.ts';
import { makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { failing } from '../../support/faults.ts';
import { signerOf } from './factory.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { importCode, offline, preparedProgrammer, startProgrammer, startTarget, type TestProgrammer } from './programmerFixture.ts';

const refusal = 'PACKAGE_REFUSED: the package is refused';
const approvers = ['operator:alice', 'operator:bob'] as const;
let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  ({ server, programmer } = await startLine());
});
afterAll(() => endLine({ server, programmer }));

describe('a package on its way', () => {
  it('is refused with any byte changed, and shows nothing (R61, R62, R106, RULE-6, T4)', async () => {
    covers('R61', 'R62', 'R106', 'RULE-6', 'T4');
    const { file, jobId } = await server.newJob(programmer.uid);
    for (const secret of [utf8('https://localhost'), fromHex(jobId), fromHex(programmer.uid)]) {
      expect(Buffer.from(file).includes(Buffer.from(secret))).toBe(false);
    }
    const tried = offline(programmer.core);
    for (let at = 0; at < file.length; at += 1) {
      expect(await importCode(tried, file.with(at, (file[at] ?? 0) ^ 1)), `byte ${at}`).toBe(refusal);
    }
    expect(await importCode(programmer.core, file)).toBe('OK');
  });

  it('is refused when its signer is another one with the right AES key (T5)', async () => {
    covers('T5');
    const { file } = await server.newJob(programmer.uid);
    const tried = offline(programmer.core);
    expect(await importCode(tried, await server.forge(programmer.core, file, {}))).toBe('OK');
    expect(await importCode(tried, await server.forge(programmer.core, file, {}, signerOf(makeKey())))).toBe(refusal);
  });

  it('is sealed under the AES_NuLink3 of one programmer, and refused for another under any key (R58, T6)', async () => {
    covers('R58', 'T6');
    const other = await preparedProgrammer(server);
    const { file } = await server.newJob(other.uid);
    expect(await importCode(offline(programmer.core), file)).toBe(refusal);
    const own = await server.newJob(programmer.uid);
    const mixed = await server.forge(programmer.core, own.file, { progUid: fromHex(other.uid) });
    expect(await importCode(offline(programmer.core), mixed)).toBe(refusal);
    expect(await importCode(offline(other.core), mixed)).toBe(refusal);
    expect(await importCode(offline(other.core), file)).toBe('OK');
    await other.stop();
  });

  it('is refused when the server has made a newer one since, even if that one has not come yet (I13, T3)', async () => {
    covers('I13', 'T3');
    const { jobId, file: old } = await server.newJob(programmer.uid, { count: 5 });
    const newer = await server.exportPackage(jobId, programmer.uid, true);
    expect(await importCode(programmer.core, old)).toBe(refusal);
    // Without a server the sequence alone decides.
    expect(await importCode(offline(programmer.core), old)).toBe('OK');
    expect(await importCode(programmer.core, newer)).toBe('OK');
  });

  it('is refused when it was imported before, or is older, also after a restart (R62, I13, T3)', async () => {
    covers('R62', 'I13', 'T3');
    const { jobId, file: first } = await server.newJob(programmer.uid, { count: 7 });
    const second = await server.exportPackage(jobId, programmer.uid, true);
    expect(await importCode(programmer.core, second)).toBe('OK');
    const before = programmer.core.nvm.state().jobs[jobId]?.sequence;
    await programmer.stop();
    programmer = await startProgrammer(programmer.folder);
    expect(await importCode(programmer.core, first)).toBe(refusal);
    expect(await importCode(programmer.core, second)).toBe(refusal);
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ sequence: before, count: 7 });
  });

  it('is refused when it names another TLS root, another OTP map, or lacks the UID list that its policy asks for (RULE-7, T14)', async () => {
    covers('RULE-7', 'T14');
    const { file } = await server.newJob(programmer.uid);
    const elsewhere = { server: { baseUrl: server.url, tlsRootKeySha256: new Uint8Array(32) } };
    for (const changes of [elsewhere, { policy: strictestPolicy }, { otpMapVersion: 2 }]) {
      expect(await importCode(offline(programmer.core), await server.forge(programmer.core, file, changes))).toBe(refusal);
    }
  });

  it.each(['lockDebug', 'requireSpdm', 'verifyBootBeforeLock'] as const)(
    'is refused when its policy lacks %s: a package does not loosen the rules (RULE-14)',
    async bit => {
      covers('RULE-14');
      const { file } = await server.newJob(programmer.uid);
      const policy = { ...strictestPolicy, requireUidList: false };
      const loose = await server.forge(programmer.core, file, { policy: { ...policy, [bit]: false } });
      expect(await importCode(offline(programmer.core), loose)).toBe(refusal);
      expect(await importCode(offline(programmer.core), await server.forge(programmer.core, file, { policy }))).toBe('OK');
    },
  );

  it('is imported offline, and acknowledged when the server can be reached again (R62, R63, R64)', async () => {
    covers('R62', 'R63', 'R64');
    const { file, jobId } = await server.newJob(programmer.uid, { count: 9 });
    server.proxy.fail(() => 'lost');
    expect(await importCode(programmer.core, file)).toBe('OK');
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ count: 9, acknowledgementSent: false });
    server.proxy.heal();
    await deliverOutstanding(programmer.core);
    expect(programmer.core.nvm.state().jobs[jobId]?.acknowledgementSent).toBe(true);
    expect((await server.ledger(jobId, programmer.uid)).map(record => record.type)).toEqual(['import']);
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ status: 'READY' });
  });

  it('counts no unit that was built between its export and its import, as the server does (I1, RULE-4)', async () => {
    covers('I1', 'RULE-4');
    const { jobId, file } = await server.newJob(programmer.uid, { count: 3 });
    expect(await importCode(programmer.core, file)).toBe('OK');
    const newer = await server.exportPackage(jobId, programmer.uid, true);
    const target = await startTarget();
    const options = { jobId, report: () => undefined, patience: { wait: async () => false } };
    expect(await produceUnit(programmer.core, target.addresses, options)).toMatchObject({ remaining: 2 });
    await target.stop();
    // And one whose grant was lost, and which nobody goes on with.
    const given = await startTarget();
    server.proxy.fail(failing('units', 'unanswered'));
    await expect(produceUnit(programmer.core, given.addresses, options)).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    server.proxy.heal();
    await giveUpUnit(programmer.core, toHex(given.uid));
    await given.stop();
    expect(await importPackage(programmer.core, newer)).toMatchObject({ remaining: 2 });
    expect(remainingUnits(jobOf(programmer.core.nvm.state(), jobId))).toBe(2);
    expect(allotmentLeft(await server.allotment(jobId, programmer.uid))).toBe(2);
  });

  it('signed by a key of a newer trust bundle is imported (silence 11)', async () => {
    await carryOut(server.ctx, { type: 'establishPackageKey', keyId: 'package/2' }, approvers);
    const { file } = await server.newJob(programmer.uid);
    expect(await importCode(offline(programmer.core), file)).toBe(refusal);
    expect(await importCode(programmer.core, file)).toBe('OK');
  });
});
