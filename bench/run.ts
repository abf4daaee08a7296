import { readdirSync } from 'node:fs';
import { type Figure, inTemporaryFolder, type NotMeasured, type Report, ratioOf } from './parts/measure.ts';

/** `npm run bench -- NAME [--json]` runs bench/NAME.ts, which exports `run(report)`; without a name it says which there are. What several of them
 *  use, and programs that they start, is in bench/parts.
 *
 *  Each figure is one JSON line `{bench, figure, value, unit, bound, boundWhat, ratio}` with --json, a line of a table otherwise.
 *  What cannot be measured on this machine is a line `{bench, figure, notMeasured}`, or says NOT MEASURED.
 *  `ratio` says how good the figure is beside its bound: value ÷ bound of rates, bound ÷ value of times and other costs. */

const benches = readdirSync(import.meta.dirname)
  .filter(file => file.endsWith('.ts') && file !== 'run.ts')
  .map(file => file.slice(0, -3));

const json = process.argv.includes('--json');
const name = process.argv.slice(2).find(argument => !argument.startsWith('--'));

if (name === undefined || !benches.includes(name)) {
  console.error(`usage: npm run bench -- NAME [--json]\nNAME: ${benches.join(', ')}`);
  process.exitCode = 2;
} else {
  const { run } = (await import(`./${name}.ts`)) as { run(report: Report): Promise<void> };
  await inTemporaryFolder(state => {
    // What servers and commands remember is not left with the user who measures.
    process.env.XDG_STATE_HOME = state;
    return run(figure => console.log(json ? JSON.stringify(line(name, figure)) : row(figure)));
  });
}

function line(bench: string, figure: Figure | NotMeasured): object {
  if ('notMeasured' in figure) return { bench, ...figure };
  const { value, bound } = figure;
  return { bench, ...figure, value: round(value), bound: round(bound), ratio: round(ratioOf(figure)) };
}

function row(given: Figure | NotMeasured): string {
  if ('notMeasured' in given) return `${given.figure.padEnd(44)}  NOT MEASURED: ${given.notMeasured}`;
  const { figure, value, unit, bound, boundWhat } = given;
  return `${figure.padEnd(44)} ${text(value)} ${unit.padEnd(9)} ${text(bound)} ${boundWhat}  ×${round(ratioOf(given))}`;
}

/** Four digits that count. */
function round(value: number): number {
  return Number(value.toPrecision(4));
}

function text(value: number): string {
  return round(value).toLocaleString('en').padStart(12);
}
