import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { reservePorts } from '../scripts/demo/ports.ts';
import { limitOfProcesses } from './support/limits.ts';
import { blocksOf, type Reader, readerIn } from './support/pageCommands.ts';

/** docs/tutorial.md is followed by a reader who types everything, against a real server. */

const page = new URL('../docs/tutorial.md', import.meta.url);
const main = new URL('../src/cli/main.ts', import.meta.url).pathname;
const named = ['8443', '8883', '8080', '7101', '7102', '7001', '7002', '7003', '7004'];

describe('docs/tutorial.md', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-tutorial-'));
  let reader: Reader;
  let release: () => void;

  beforeAll(async () => {
    const { ports, close } = await reservePorts(named.length);
    release = close;
    const program = join(folder, 'bin', 'nusec');
    mkdirSync(join(folder, 'bin'));
    writeFileSync(program, `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`);
    chmodSync(program, 0o755);
    const env = {
      PATH: `${join(folder, 'bin')}${delimiter}${process.env.PATH}`,
      HOME: folder,
      NUSEC_HTTPS_PORT: String(ports[0]),
      NUSEC_MQTT_PORT: String(ports[1]),
      NUSEC_CRL_PORT: String(ports[2]),
    };
    const portOf = new Map(named.map((port, i) => [port, String(ports[i])]));
    reader = readerIn(folder, env, text => text.replaceAll(/\b\d{4}\b/g, number => portOf.get(number) ?? number));
  });
  afterAll(async () => {
    await reader.close();
    release();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [i, block] of blocksOf(page).entries())
    it(
      `${block.heading}, ${block.commands.trim().split('\n')[0]} (${i + 1})`,
      () => reader.follow(block),
      limitOfProcesses(block.commands.trim().split('\n').length * 4),
    );
});
