import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { giveUpUnit } from '../../../gateway-device/programmer/giveUp.ts';
import { deliverOutstanding } from '../../../gateway-device/programmer/outstanding.ts';
import { zeroiseJob } from '../../../gateway-device/programmer/zeroise.ts';
import { toHex } from '../../../src/bytes.ts';
import { sweepUnits } from '../../../src/services/production/unitExpiry.ts';
import { covers } from '../../support/covers.ts';
import { failing } from '../../support/faults.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { produce, startTarget, type TestProgrammer, type TestTarget } from './programmerFixture.ts';

/** An answer of the server is lost, and then the same chip, another one or none is on the wires: nothing is concluded from that. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 400, scrapAllowance: 20 }));
});
afterAll(() => endLine({ server, programmer }));

const outcomesOf = async (target: TestTarget): Promise<readonly string[]> =>
  (await server.units(jobId, programmer.uid)).filter(unit => unit.uid === toHex(target.uid)).map(unit => unit.outcome);
const code = async (target: TestTarget): Promise<string> => (await produce(programmer.core, target.addresses)).code;

/** Programmer and server count the same. */
async function expectAgreement(): Promise<void> {
  const own = programmer.core.nvm.state().jobs[jobId];
  const { committed, scrapped, open } = (await server.allotment(jobId, programmer.uid)) as {
    readonly committed: number;
    readonly scrapped: number;
    readonly open: { readonly size: number };
  };
  expect({ committed: own?.committed, scrapped: own?.scrapped, open: own?.open }).toEqual({ committed, scrapped, open: open.size });
}

const calls = ['units', 'csr', 'bootloader', 'application-key', 'application', 'commit'];

describe.each(calls)('after the answer to %s was lost', name => {
  const losing = async (target: TestTarget): Promise<void> => {
    server.proxy.fail(failing(name, 'unanswered'));
    expect(await code(target)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
  };

  it('the same chip is committed once (T33)', async () => {
    covers('T33');
    const target = await startTarget();
    await losing(target);
    expect(await code(target)).toBe('OK');
    expect(await outcomesOf(target)).toEqual(['committed']);
    await expectAgreement();
    await target.stop();
  });

  it('another chip is built, and the first one is no scrap: it is committed when it comes back (T33)', async () => {
    covers('T33');
    const [first, other] = [await startTarget(), await startTarget()];
    await losing(first);
    expect(await code(other)).toBe('OK');
    expect(await outcomesOf(other)).toEqual(['committed']);
    expect(await code(first)).toBe('OK');
    expect((await outcomesOf(first)).filter(outcome => outcome !== 'voided')).toEqual(['committed']);
    expect(await server.allotment(jobId, programmer.uid)).toMatchObject({ scrapped: 0 });
    await expectAgreement();
    await Promise.all([first.stop(), other.stop()]);
  });

  it('with no chip on the wires what needs none is sent, and nothing else happens', async () => {
    const target = await startTarget();
    await losing(target);
    const gone = { serial: '127.0.0.1:1', debug: '127.0.0.1:1' };
    expect((await produce(programmer.core, gone)).code).toBe('LINK_FAILED');
    expect(await outcomesOf(target)).toEqual([name === 'commit' ? 'committed' : 'open']);
    expect(await code(target)).toBe('OK');
    expect(await outcomesOf(target)).toEqual(['committed']);
    await expectAgreement();
    await target.stop();
  });
});

describe('what needs no chip', () => {
  it.each(['lost', 'unanswered'] as const)('goes first when another chip is on the wires: a commit that was %s', async fault => {
    const [finished, other] = [await startTarget(), await startTarget()];
    server.proxy.fail(failing('commit', fault));
    expect(await code(finished)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    const before = server.proxy.calls.length;
    expect(await code(other)).toBe('OK');
    expect(
      server.proxy.calls
        .slice(before)
        .map(({ name }) => name)
        .slice(0, 2),
    ).toEqual(['commit', 'units']);
    expect(await outcomesOf(finished)).toEqual(['committed']);
    expect(programmer.core.nvm.state().units).toEqual({});
    await expectAgreement();
    await Promise.all([finished.stop(), other.stop()]);
  });

  it('goes when there is no chip: a commit that never arrived', async () => {
    const finished = await startTarget();
    server.proxy.fail(failing('commit', 'lost'));
    expect(await code(finished)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    expect((await produce(programmer.core, { serial: '127.0.0.1:1', debug: '127.0.0.1:1' })).code).toBe('LINK_FAILED');
    expect(await outcomesOf(finished)).toEqual(['committed']);
    expect(await code(finished)).toBe('OK');
    await expectAgreement();
    await finished.stop();
  });

  it('goes to the server in the background too: a commit', async () => {
    const target = await startTarget();
    server.proxy.fail(failing('commit', 'unanswered'));
    expect(await code(target)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    await deliverOutstanding(programmer.core);
    expect(programmer.core.nvm.state().units).toEqual({});
    await expectAgreement();
    await target.stop();
  });

  it.each(['unanswered', 'twice', 'late', { cutAtByte: 30 }, { status: 503, code: 'STORE_UNAVAILABLE' }] as const)(
    'waits in the journal until the server has it, %o: a void (R82)',
    async fault => {
      covers('R82');
      const target = await startTarget();
      server.proxy.fail(call => {
        if (call.name === 'bootloader') return { status: 409, code: 'CONFLICT' };
        return call.name === 'void' ? fault : undefined;
      });
      expect(await code(target)).toBe('CONFLICT');
      server.proxy.heal();
      await deliverOutstanding(programmer.core).catch(() => undefined);
      expect(programmer.core.nvm.state().units).toEqual({});
      expect(await outcomesOf(target)).toEqual(['voided']);
      await expectAgreement();
      await target.stop();
    },
  );
});

describe('a unit whose chip does not come back', () => {
  it('is counted as the server counts it: the count returns where no OTP was touched', async () => {
    const [left, next] = [await startTarget(), await startTarget()];
    server.proxy.fail(failing('csr', 'lost'));
    expect(await code(left)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    server.plant.moveClock(16 * 60_000);
    await sweepUnits(server.ctx);
    expect(await code(next)).toBe('OK');
    expect(await outcomesOf(left)).toEqual(['voided']);
    expect(programmer.core.nvm.state().units).toEqual({});
    await expectAgreement();
    await Promise.all([left.stop(), next.stop()]);
  });

  it('goes on after hours when it was past OTP: the grant is renewed', async () => {
    const target = await startTarget();
    server.proxy.fail(failing('application', 'lost'));
    expect(await code(target)).toBe('SERVER_UNREACHABLE');
    server.proxy.heal();
    server.plant.moveClock(20 * 3_600_000);
    await sweepUnits(server.ctx);
    expect(await code(target)).toBe('OK');
    expect(await outcomesOf(target)).toEqual(['committed']);
    await expectAgreement();
    await target.stop();
  });
});

describe('a unit whose chip is lost for good', () => {
  it('is given up by a person: scrap past OTP, and both count so; a finished one cannot be', async () => {
    const [lost, finished] = [await startTarget(), await startTarget()];
    server.proxy.fail(failing('application', 'lost'));
    expect(await code(lost)).toBe('SERVER_UNREACHABLE');
    server.proxy.fail(failing('commit', 'lost'));
    expect(await code(finished)).toBe('SERVER_UNREACHABLE');
    await expect(giveUpUnit(programmer.core, toHex(finished.uid))).rejects.toMatchObject({ code: 'STATE' });
    server.proxy.heal();
    expect(await giveUpUnit(programmer.core, toHex(lost.uid))).toBe(true);
    await deliverOutstanding(programmer.core);
    expect(await outcomesOf(lost)).toEqual(['voided']);
    expect(await outcomesOf(finished)).toEqual(['committed']);
    await expectAgreement();
    await Promise.all([lost.stop(), finished.stop()]);
  });
});

describe('after all of this', () => {
  it('ledger, programmer and server tell the same story: the job closes clean (T19, I14, R82)', async () => {
    covers('T19', 'I14', 'R82');
    expect(programmer.core.nvm.state().units).toEqual({});
    await zeroiseJob(programmer.core, jobId);
    await deliverOutstanding(programmer.core);
    const closed = await server.plant.ask('pia', 'POST', `/v1/jobs/${jobId}/close`);
    expect(closed).toMatchObject({ verdict: 'clean', discrepancies: [] });
  });
});
