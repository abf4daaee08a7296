import { styled, table } from './output.ts';
import { adviceOn } from './produceAdvice.ts';
import { showEntry } from './programmerRun.ts';
import type { Station } from './station.ts';
import type { StationEvent } from './stationLine.ts';

/** A station as people and machines see it: a table that is drawn again in place, lines of text, or JSON lines. */

export type View = { readonly show: (event: StationEvent) => void; readonly close: () => void };

type Row = { step: string; unit: string; built: number; failed: number; last: string };

const redrawMs = 250;
const hourSeconds = 3600;

/** Units per hour and the share of committed ones, as in JSON lines and table. */
export function createCounter() {
  const begin = performance.now();
  let [built, failed] = [0, 0];
  return {
    count(outcome: string): void {
      if (outcome === 'OK') built += 1;
      else failed += 1;
    },
    rates: () => ({
      built,
      failed,
      unitsPerHour: Math.round((built * hourSeconds * 1000) / Math.max(1, performance.now() - begin)),
      yield: built + failed === 0 ? null : Number((built / (built + failed)).toFixed(4)),
    }),
  };
}

/** What a result is to a machine. */
export function resultLine(event: Extract<StationEvent, { type: 'result' }>, rates: object): object {
  const { target, end, tookMs } = event;
  const isGood = end.outcome === 'OK';
  return { target, ...end, ...(!isGood && { advice: adviceOn(end) }), seconds: Number((tookMs / 1000).toFixed(2)), ...rates };
}

export function openView({ targets }: Station, json: boolean | undefined): View {
  const counter = createCounter();
  if (json) return lines(event => process.stdout.write(`${JSON.stringify(machineLine(event, counter))}\n`));
  if (!process.stdout.isTTY) return lines(event => textLine(event, counter));
  return liveTable(
    targets.map(({ name }) => name),
    counter,
  );
}

const lines = (show: (event: StationEvent) => void): View => ({ show, close: () => undefined });

/** @returns one JSON line of the socket and of --json */
export function machineLine(event: StationEvent, counter: ReturnType<typeof createCounter>): object {
  if (event.type === 'waitingForChip') return { target: event.target, waiting: 'chip' };
  if (event.type === 'step') {
    const { k, name, state, text } = event.entry;
    return { target: event.target, step: k, name, state, ...(text && { text }) };
  }
  counter.count(event.end.outcome);
  return resultLine(event, counter.rates());
}

function textLine(event: StationEvent, counter: ReturnType<typeof createCounter>): void {
  if (event.type === 'step') showEntry(event.entry, false, event.target);
  else if (event.type === 'waitingForChip') process.stdout.write(`${event.target}: waiting for a chip\n`);
  else {
    counter.count(event.end.outcome);
    process.stdout.write(`${event.target}: ${endText(event)}\n`);
  }
}

function endText({ end }: Extract<StationEvent, { type: 'result' }>): string {
  if (end.outcome === 'OK') return `${styled('green', 'committed')} ${end.uid ?? ''}, ${end.remaining ?? 0} left${labelsOf(end)}`;
  return `${styled('red', end.outcome)} ${end.uid ?? ''}: ${adviceOn(end)}`;
}

const labelsOf = ({ values = {} }: { readonly values?: Readonly<Record<string, string>> }): string =>
  Object.entries(values)
    .map(([name, value]) => `, ${name} ${value}`)
    .join('');

function liveTable(names: readonly string[], counter: ReturnType<typeof createCounter>): View {
  const rows = new Map<string, Row>(names.map(name => [name, { step: '', unit: '', built: 0, failed: 0, last: '' }]));
  let drawn = 0;
  const draw = (): void => {
    const { unitsPerHour, yield: good, built, failed } = counter.rates();
    const cells = [...rows].map(([name, { step, unit, built: own, failed: bad, last }]) => [name, unit, step, own, bad, last]);
    const total = `${built} built, ${failed} not, yield ${good === null ? '–' : `${(good * 100).toFixed(1)} %`}, ${unitsPerHour} units/h`;
    const text = `${table(['TARGET', 'CHIP', 'STEP', 'BUILT', 'FAILED', 'LAST'], cells)}\n${total}`;
    const wide = process.stdout.columns || 120;
    const cut = text.split('\n').map(line => `\u001b[2K${line.slice(0, wide + (line.length - plain(line).length))}`);
    process.stdout.write(`${drawn > 0 ? `\u001b[${drawn}A` : ''}${cut.join('\n')}\n`);
    drawn = cut.length;
  };
  const timer = setInterval(draw, redrawMs);
  return {
    show: event => {
      const row = rows.get(event.target);
      if (!row) return;
      if (event.type === 'waitingForChip') Object.assign(row, { step: 'waiting for a chip', unit: '' });
      else if (event.type === 'step') {
        const { k, name, state, text } = event.entry;
        Object.assign(row, { step: `${k}/16 ${name}${state === 'begin' || state === 'done' ? '' : ` ${state}`}` });
        if (k === 1 && state === 'done') row.unit = text;
      } else {
        counter.count(event.end.outcome);
        if (event.end.outcome === 'OK') row.built += 1;
        else row.failed += 1;
        row.last = event.end.outcome === 'OK' ? 'committed' : `${event.end.outcome} → ${event.end.bin ?? ''}: ${adviceOn(event.end)}`;
      }
    },
    close: () => {
      clearInterval(timer);
      draw();
    },
  };
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are control characters
const plain = (text: string): string => text.replace(/\u001b\[[0-9;]*m/g, '');
