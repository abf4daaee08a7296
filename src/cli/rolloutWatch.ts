import { setTimeout as sleep } from 'node:timers/promises';
import { type ServerOptions, withServer } from './client.ts';
import { styled } from './output.ts';

/** Draws the progress of a rollout until it has ended: one line that changes on a terminal, a line for each change elsewhere. */

type View = {
  readonly status: string;
  readonly devices: number;
  readonly groups: number;
  readonly passedGroups: number;
  readonly reason: string | null;
  readonly counts: Readonly<Record<string, number>>;
};

const lookEveryMs = 1000;
const barChars = 30;
const ended: readonly string[] = ['COMPLETED', 'HALTED', 'ABORTED'];

export async function watchRollout(options: ServerOptions, id: string): Promise<void> {
  const isTerminal = process.stdout.isTTY && !options.json;
  await withServer(options, async server => {
    for (let shown = ''; ; await sleep(lookEveryMs)) {
      const view = await server.json<View>('GET', `/v1/rollouts/${id}`);
      const { status, devices, groups, passedGroups, reason, counts } = view;
      const text = options.json ? JSON.stringify({ status, devices, groups, passedGroups, reason, counts }) : drawn(view);
      if (text !== shown) process.stdout.write(isTerminal ? `\r\u001b[2K${text}` : `${text}\n`);
      shown = text;
      if (!ended.includes(status)) continue;
      if (isTerminal) process.stdout.write('\n');
      // It is over: nothing is to be watched any more.
      process.exitCode = status === 'COMPLETED' ? 0 : 1;
      return;
    }
  });
}

/** `RUNNING ██████░░░░ 12/40 upgraded, 3 started, 25 offered · group 1 of 2` */
function drawn({ status, devices, groups, passedGroups, reason, counts }: View): string {
  const upgraded = counts.upgraded ?? 0;
  const filled = devices === 0 ? 0 : Math.floor((upgraded * barChars) / devices);
  const bar = '█'.repeat(filled) + '░'.repeat(barChars - filled);
  const others = Object.entries(counts).filter(([name, count]) => name !== 'upgraded' && count > 0);
  const parts = [`${upgraded}/${devices} upgraded`, ...others.map(([name, count]) => `${count} ${name}`)];
  const group = `group ${Math.min(passedGroups + 1, groups)} of ${groups}`;
  return `${styled('bold', status)} ${bar} ${parts.join(', ')} · ${group}${reason === null ? '' : ` · ${reason}`}`;
}
