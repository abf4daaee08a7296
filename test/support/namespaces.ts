import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { relay } from './relay.ts';

/** Machines as network namespaces of this one: each reaches the test over a network of its own, and the other machine over another, which can be cut. */

const ip = (...args: readonly string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });

/** Why there can be no namespaces here; undefined when there can. */
export function whyNoNamespaces(): string | undefined {
  const name = `nusec-probe-${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return undefined;
  } catch (error) {
    return `network namespaces need root and iproute2 (${(error as Error).message.split('\n')[0]})`;
  }
}

export type Machine = {
  readonly name: string;
  /** Runs a command there. */
  readonly wrapper: readonly string[];
  /** Its address for the test, and for the other machine. */
  readonly host: string;
  readonly linkHost: string;
  /** Has ports of the test on its own loopback. @returns what ends that */
  forward(ports: Readonly<Record<number, number>>): Promise<void>;
  /** A port of the machine on the loopback of the test. */
  reach(port: number): Promise<number>;
  /** The network to the test, where the stores are. */
  setTrunk(state: 'up' | 'down'): void;
};

/** Two machines. @param own takes what ends everything */
export async function twoMachines(own: (close: () => void) => void) {
  const octet = 64 + (process.pid % 128);
  const id = process.pid % 100_000;
  const make = (letter: 'a' | 'b', number: number): Machine => {
    const name = `nusec-${letter}-${process.pid}`;
    const [near, far] = [`nt${letter}${id}`, `nf${letter}${id}`];
    const [testHost, host] = [`10.${octet}.${number}.1`, `10.${octet}.${number}.2`];
    ip('netns', 'add', name);
    own(() => ip('netns', 'del', name));
    ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far);
    ip('link', 'set', far, 'netns', name);
    ip('addr', 'add', `${testHost}/30`, 'dev', near);
    ip('link', 'set', near, 'up');
    ip('-n', name, 'addr', 'add', `${host}/30`, 'dev', far);
    ip('-n', name, 'link', 'set', far, 'up');
    ip('-n', name, 'link', 'set', 'lo', 'up');
    const wrapper = ['ip', 'netns', 'exec', name];
    return {
      name,
      wrapper,
      host,
      linkHost: `10.${octet}.3.${number}`,
      async forward(ports) {
        const pairs: string[] = [];
        for (const [there, here] of Object.entries(ports)) {
          const passed = await relay({ host: testHost, port: 0 }, { host: '127.0.0.1', port: here });
          own(passed.close);
          pairs.push(`127.0.0.1:${there}=${testHost}:${passed.port}`);
        }
        const [program = '', ...rest] = [...wrapper, process.execPath, fileURLToPath(new URL('relay.ts', import.meta.url)), ...pairs];
        const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
        own(() => void child.kill('SIGKILL'));
        await once(child.stdout, 'data');
      },
      async reach(port) {
        const passed = await relay({ host: '127.0.0.1', port: 0 }, { host, port });
        own(passed.close);
        return passed.port;
      },
      setTrunk: state => ip('link', 'set', near, state),
    };
  };
  const [a, b] = [make('a', 1), make('b', 2)];
  ip('link', 'add', `nla${id}`, 'type', 'veth', 'peer', 'name', `nlb${id}`);
  for (const [machine, device] of [
    [a, `nla${id}`],
    [b, `nlb${id}`],
  ] as const) {
    ip('link', 'set', device, 'netns', machine.name);
    ip('-n', machine.name, 'addr', 'add', `${machine.linkHost}/30`, 'dev', device);
    ip('-n', machine.name, 'link', 'set', device, 'up');
  }
  /** The network between the two. */
  const setBetween = (state: 'up' | 'down'): void => ip('-n', a.name, 'link', 'set', `nla${id}`, state);
  return { a, b, setBetween };
}
