import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { type OemServer, startOemServer } from './oemServer.ts';
import { importCode, preparedProgrammer, produce, removeFolders, startTarget, type TestProgrammer } from './programmerFixture.ts';

let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  server = await startOemServer();
});
afterAll(async () => {
  await programmer?.stop();
  await server.close();
  removeFolders();
});

describe('a programmer from the bare board to the first unit', () => {
  it('is prepared step by step: key, certificate, boot key, firmware, lock, AES_NuLink3 (R104)', async () => {
    covers('R104');
    const lines: string[] = [];
    programmer = await preparedProgrammer(server, lines);
    expect(lines).toHaveLength(10);
    expect(await server.programmer(programmer.uid)).toMatchObject({ status: 'SHIPPED', kek: { epoch: 1 } });
  });

  it('imports its package and produces units until the count is used up (R64, R65, RULE-4)', async () => {
    covers('R64', 'R65', 'RULE-4');
    const { jobId, file } = await server.newJob(programmer.uid, { count: 2 });
    expect(await importCode(programmer.core, file)).toBe('OK');
    const first = await startTarget();
    expect(await produce(programmer.core, first.addresses)).toMatchObject({ code: 'OK', remaining: 1 });
    await first.stop();
    const second = await startTarget();
    expect(await produce(programmer.core, second.addresses)).toMatchObject({ code: 'OK', remaining: 0 });
    await second.stop();
    const third = await startTarget();
    expect(await produce(programmer.core, third.addresses)).toMatchObject({ code: 'COUNT_EXHAUSTED' });
    await third.stop();
    expect((await server.units(jobId, programmer.uid)).map(unit => unit.outcome)).toEqual(['committed', 'committed']);
  });
});
