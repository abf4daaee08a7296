import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { whileOpen } from '../../src/closing.ts';
import { endLine, startLineWithJob } from '../gateway-device/programmer/line.ts';
import { freshId, produce } from '../gateway-device/programmer/programmerFixture.ts';
import { covers } from '../support/covers.ts';
import { boardFolder, skippedBecause, startBoard } from './cortexBoard.ts';

/** Production of a Cortex-M33 in QEMU whose power is cut: its own memories decide what is there afterwards. */

/** The board has no bootloader that opens sessions: a unit comes so far. */
const lastDone = 10;
const doneIn = (steps: readonly string[]): number =>
  Math.max(0, ...steps.filter(step => step.endsWith(' done')).map(step => Number.parseInt(step, 10)));

describe.skipIf(skippedBecause !== undefined)('a Cortex-M33 that loses its power in production', () => {
  let line: Awaited<ReturnType<typeof startLineWithJob>>;
  beforeAll(async () => {
    line = await startLineWithJob({ count: 20 });
  });
  afterAll(() => endLine(line));

  it.each([3, 4, 5, 6, 8, 9, 10])('in step %i: the same unit goes on with the same key, and nothing is burned twice (T33)', cutStep =>
    whileOpen(async own => {
      covers('T33');
      const { server, programmer, jobId } = line;
      const chip = { folder: boardFolder(own), uid: freshId() };
      const first = await startBoard(own, chip);
      let cut: Promise<void> | undefined;
      const ended = await produce(programmer.core, first, (k, state) => {
        if (k === cutStep && state === 'begin') cut ??= first.cutPower();
      });
      await cut;
      expect(ended.code).not.toBe('OK');
      const before = programmer.core.nvm.state().units[toHex(chip.uid)];
      expect(doneIn(ended.steps)).toBeLessThan(lastDone);

      const again = await startBoard(own, chip);
      const resumed = await produce(programmer.core, again);
      expect(resumed, resumed.steps.join('\n')).toMatchObject({ code: 'LINK_TIMEOUT' });
      const after = programmer.core.nvm.state().units[toHex(chip.uid)];
      expect(after?.done).toBe(lastDone);
      expect(after?.facts.grantId).toBe(before?.facts.grantId ?? after?.facts.grantId);
      if (before?.facts.publicKey !== undefined) expect(after?.facts.publicKey).toBe(before.facts.publicKey);
      const units = await server.units(jobId, programmer.uid);
      expect(units.filter(({ uid }) => uid === toHex(chip.uid))).toHaveLength(1);
    }),
  );
});
