import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startCommand } from './command.ts';
import type { TestServer } from './server.ts';

/** `nusec` as somebody uses it who has a token of a server. */

/** @returns its exit status, what it has printed, and that with its errors */
export type CommandAt = (
  token: string,
  ...args: readonly string[]
) => Promise<{ readonly status: number | null; readonly out: string; readonly text: string }>;

export function commandAt({ dataDir, rootPem, url }: TestServer): CommandAt {
  const root = join(dataDir, 'root.pem');
  writeFileSync(root, rootPem);
  return async (token, ...args) => {
    const env = { NUSEC_TOKEN: token, NUSEC_CA: root, NUSEC_SERVER: url, NUSEC_LOG_LEVEL: 'silent' };
    const { status, out, err } = await startCommand(args, env).ended();
    return { status, out, text: out + err };
  };
}
