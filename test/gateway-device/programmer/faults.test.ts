import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { covers } from '../../support/covers.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { produce, startProgrammer, startTarget, type TestProgrammer, type TestTarget } from './programmerFixture.ts';

/** After a power cut at any step another chip is put in. No good chip is lost, none is built twice. */

let server: OemServer;
let programmer: TestProgrammer;
let jobId: string;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 400, scrapAllowance: 20 }));
});
afterAll(() => endLine({ server, programmer }));

const steps = Array.from({ length: 15 }, (_, index) => index + 2);
/** Those that are written down before they begin. */
const starred = [2, 4, 6, 9, 10, 12, 14, 16];
const code = async (target: TestTarget): Promise<string> => (await produce(programmer.core, target.addresses)).code;
const outcomesOf = async ({ uid }: TestTarget): Promise<readonly string[]> =>
  (await server.units(jobId, programmer.uid)).filter(unit => unit.uid === toHex(uid)).map(unit => unit.outcome);
const scrapped = async (): Promise<number> => {
  const share = await server.allotment(jobId, programmer.uid);
  return share.status === 'NONE' ? -1 : share.scrapped;
};

class Cut extends Error {}

describe('after a power cut of the programmer, with another chip on the wires', () => {
  it.each([...steps.map(k => [k, 'begin'] as const), ...starred.map(k => [k, 'done'] as const)])(
    'at step %i %s: the other chip is built, and the first one when it comes back (T33)',
    async (k, moment) => {
      covers('T33');
      const [first, other] = [await startTarget(), await startTarget()];
      const cut = (step: number, state: string): void => {
        if (step === k && state === moment) throw new Cut();
      };
      const begun = await produce(programmer.core, first.addresses, cut).catch((error: unknown) => {
        if (error instanceof Cut) return { code: 'cut' };
        throw error;
      });
      expect(begun.code).toBe('cut');
      await programmer.stop();
      programmer = await startProgrammer(programmer.folder);
      expect(await code(other)).toBe('OK');
      // The answer to its commit had come: nothing is left to be reported of this chip.
      expect(await code(first)).toBe(k === 16 && moment === 'done' ? 'DEVICE_STATE' : 'OK');
      expect(await outcomesOf(other)).toEqual(['committed']);
      expect((await outcomesOf(first)).filter(outcome => outcome !== 'voided')).toEqual(['committed']);
      expect(await scrapped()).toBe(0);
      await Promise.all([first.stop(), other.stop()]);
    },
  );
});
