import { type ChildProcess, fork } from 'node:child_process';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ServerProcess, startServerProcesses } from '../test/support/server.ts';
import { median, type Report } from './parts/measure.ts';
import type { CallMs, LineResult, LineWish } from './parts/productionLine.ts';

/** Production: one server process, programmers in other processes, every unit with its real CSR, receipts, SPDM evidence and signed ledger over
 *  mutual TLS. Processor time depends less on what else this machine does than units per second do, in which the programmers have their part. */

const lines = 2;
const programmersEach = 25;
const unitsEach = 8;
const goals = { unitsPerSecond: 60, cpuMs: 8, callMs: 100, exportMs: 50 };
const clockTicksPerSecond = 100;

export async function run(report: Report): Promise<void> {
  const group = await startServerProcesses(1);
  const [server] = group.first as [ServerProcess];
  try {
    const { units, seconds, cpuMs, lineCpuMs, calls, pacedMs, exportMs } = await build(server);
    const all = Object.values(calls).flat();
    report({
      figure: `units, ${lines * programmersEach} programmers`,
      value: units / seconds,
      unit: '1/s',
      bound: goals.unitsPerSecond,
      boundWhat: 'the goal',
    });
    const cpu = { value: cpuMs / units, unit: 'ms' } as const;
    report({ figure: 'server CPU per unit', ...cpu, bound: cryptoPerUnitMs(), boundWhat: 'crypto of the unit' });
    report({ figure: 'server CPU per unit, goal', ...cpu, bound: goals.cpuMs, boundWhat: 'the goal' });
    report({
      figure: "programmers' CPU per unit",
      value: lineCpuMs / units,
      unit: 'ms',
      bound: cpuMs / units,
      boundWhat: 'server CPU per unit',
    });
    const paced = { figure: `p99 of a call at ${goals.unitsPerSecond} units/s`, value: percentile(pacedMs, 0.99), unit: 'ms' } as const;
    report({ ...paced, bound: goals.callMs, boundWhat: 'the goal' });
    // Each programmer sends its next call with the answer: a call waits for those of all others, and the longer the more each of them does.
    report({
      figure: 'p99 of a call',
      value: percentile(all, 0.99),
      unit: 'ms',
      bound: goals.callMs,
      boundWhat: 'the goal',
    });
    report({ figure: 'package, 10 000 UIDs listed', value: median(exportMs), unit: 'ms', bound: goals.exportMs, boundWhat: 'the goal' });
    for (const [name, times] of Object.entries(calls)) {
      report({ figure: `p99 of ${name}`, value: percentile(times, 0.99), unit: 'ms', bound: median(times), boundWhat: 'its median' });
    }
  } finally {
    await group.close();
  }
}

async function build(server: ServerProcess) {
  const { url, rootPem: ca, alice, bob } = server;
  const paceMs = (1000 * lines * programmersEach) / goals.unitsPerSecond;
  const children = Array.from({ length: lines }, (_, index) => {
    const wish: LineWish = { url, line: `line-${index}`, ca, alice, bob, programmers: programmersEach, unitsEach, paceMs };
    return fork(new URL('./parts/productionLine.ts', import.meta.url), [JSON.stringify(wish)]);
  });
  await Promise.all(children.map(answerOf));
  const before = cpuMsOf(server.pid);
  const results = (await Promise.all(children.map(tell))) as LineResult[];
  const cpuMs = cpuMsOf(server.pid) - before;
  const pacedMs = ((await Promise.all(children.map(tell))) as CallMs[]).flatMap(times => Object.values(times).flat());
  const calls: Record<string, number[]> = {};
  for (const { callMs } of results) for (const [name, times] of Object.entries(callMs)) calls[name] = [...(calls[name] ?? []), ...times];
  const seconds = Math.max(...results.map(result => result.seconds));
  const exportMs = results.flatMap(result => result.exportMs);
  const lineCpuMs = results.reduce((sum, result) => sum + result.cpuMs, 0);
  return { units: lines * programmersEach * unitsEach, seconds, cpuMs, lineCpuMs, calls, pacedMs, exportMs };
}

function tell(child: ChildProcess): Promise<unknown> {
  const answered = answerOf(child);
  child.send('go');
  return answered;
}

/** @throws Error when the process ends without one */
async function answerOf(child: ChildProcess): Promise<unknown> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`a line has ended with ${code}`);
  });
  const [message] = await Promise.race([once(child, 'message'), ended]);
  ended.catch(() => undefined);
  return message;
}

/** User and system time of a process with all of its threads. */
function cpuMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / clockTicksPerSecond;
}

const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? 0;

/** What a unit needs of P-256 at the server: two boot keys are made; grant, certificate, two images are signed; request, two receipts, two ledger
 *  records, the session and what ties it to the certificate are verified. */
const perUnit = { made: 2, signed: 4, verified: 7 };

function cryptoPerUnitMs(): number {
  const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { privateKey, publicKey } = make();
  const text = Buffer.alloc(300);
  const signature = sign('sha256', text, privateKey);
  const made = cpuPerCallMs(make);
  const signed = cpuPerCallMs(() => sign('sha256', text, privateKey));
  const verified = cpuPerCallMs(() => verify('sha256', text, publicKey, signature));
  return perUnit.made * made + perUnit.signed * signed + perUnit.verified * verified;
}

function cpuPerCallMs(call: () => unknown, times = 300): number {
  const rounds = Array.from({ length: 5 }, () => {
    const begin = process.threadCpuUsage();
    for (let n = 0; n < times; n++) call();
    const { user, system } = process.threadCpuUsage(begin);
    return (user + system) / 1000 / times;
  });
  return median(rounds);
}
