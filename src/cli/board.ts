import type { BoardEvent } from '../../gateway-device/chip/board.ts';
import { styled } from './output.ts';
import { fieldsText, runUntilStopped } from './process.ts';

/** Runs a virtual board as a command: one line when it is ready, then one for each event, until a signal stops it. */

type RunningBoard = { readonly ready: { readonly ready: boolean }; close(): Promise<void> };

/** @param json  JSON lines also on a terminal */
export async function runBoard(json: boolean, start: (tell: (event: BoardEvent) => void) => Promise<RunningBoard>): Promise<void> {
  const asJson = json || !process.stdout.isTTY;
  const say = (line: object, text: string): void => void process.stdout.write(`${asJson ? JSON.stringify(line) : text}\n`);
  const sayEvent = ({ event, ...fields }: BoardEvent): void => say({ event, ...fields }, `${styled('bold', event)} ${fieldsText(fields)}`);
  // `ready` is the first line: a script that starts a board waits for it.
  let early: BoardEvent[] | undefined = [];
  const tell = (event: BoardEvent): void => (early ? void early.push(event) : sayEvent(event));
  const sayReady = ({ ready }: RunningBoard): void => {
    const { ready: _, ...where } = ready;
    say(ready, `${styled('green', 'ready')} ${fieldsText(where)}`);
    const before = early ?? [];
    early = undefined;
    for (const event of before) sayEvent(event);
  };
  await runUntilStopped(() => start(tell), sayReady);
}
