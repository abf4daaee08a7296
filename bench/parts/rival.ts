import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Starts another certificate authority that is installed here, with keys from openssl. */

export type Rival = { readonly port: number; readonly rootPem: string; close(): Promise<void> };

const patienceMs = 20_000;
const pollMs = 50;

export function isInstalled(command: string, question: string): boolean {
  try {
    execFileSync(command, [question], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export const openssl = (folder: string, ...args: readonly string[]): void =>
  void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });

/** A key and its own certificate: `{name}.key`, `{name}.pem`. */
export function makeKeys(folder: string, name: string, more: readonly string[]): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', `${name}.key`];
  openssl(folder, 'req', '-x509', ...key, '-out', `${name}.pem`, '-days', '30', '-subj', `/CN=${name}`, ...more);
}

type Place = { readonly folder: string; readonly port: number; readonly rootPem: string };

/** @returns when it listens */
export async function startRival(command: string, args: readonly string[], { folder, port, rootPem }: Place): Promise<Rival> {
  const child = spawn(command, args, { cwd: folder, stdio: 'ignore' });
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const close = async (): Promise<void> => {
    child.kill();
    await ended;
  };
  for (const until = performance.now() + patienceMs; performance.now() < until; await sleep(pollMs)) {
    if (await isListening(port)) return { port, rootPem: readFileSync(join(folder, rootPem), 'utf8'), close };
  }
  await close();
  throw new Error(`${command} does not listen`);
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const isThere = await new Promise<boolean>(resolve => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
  socket.destroy();
  return isThere;
}
