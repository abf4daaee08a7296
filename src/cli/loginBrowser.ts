import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { toBase64url, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { createSecretFile } from '../keystore/secretFile.ts';
import { minuteMs } from '../times.ts';
import { rootCertificate, type ServerOptions } from './client.ts';
import { print, record } from './output.ts';
import { profilesFile, readProfiles, writeProfiles } from './profiles.ts';

/** The browser and this machine's loopback, for a session of `nusec login`. */

export type LoginOptions = ServerOptions & { readonly browser: boolean };

const waitMs = 5 * minuteMs;
const page = '<!doctype html><title>nusec</title><p>Signed in. You may close this page.';

export async function login(options: LoginOptions): Promise<void> {
  const [verifier, state] = [newText(), newText()];
  const challenge = toBase64url(sha256(utf8(verifier)));
  const code = await codeFromBrowser(state, port => {
    const address = `${options.server}/console/sign-in/command?port=${port}&challenge=${challenge}&state=${state}`;
    process.stderr.write(`Allow this command in the browser: ${address}\n`);
    if (options.browser) openBrowser(address);
  });
  const { createHttpClient } = await import('../../gateway-device/link/httpClient.ts');
  const client = createHttpClient({ baseUrl: options.server, ca: rootCertificate(options) });
  try {
    const { session, name } = await client.json<{ session: string; name: string }>('POST', '/v1/sign-in/command', { code, verifier });
    const tokenFile = keep(options, session);
    print(options, { name, tokenFile }, record({ 'signed in as': name, session: tokenFile }));
  } finally {
    client.close();
  }
}

const newText = (): string => toBase64url(new Uint8Array(randomBytes(32)));

/** Waits for the one request that the browser makes. @throws NusecError SIGN_IN_FAILED after five minutes */
async function codeFromBrowser(state: string, onPort: (port: number) => void): Promise<string> {
  const { createServer } = await import('node:http');
  return new Promise((resolve, reject) => {
    const server = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
      const code = searchParams.get('code');
      // Another page of this browser may ask too: it does not know the state.
      if (code === null || searchParams.get('state') !== state) return void response.writeHead(404).end();
      response.writeHead(200, { 'Content-Type': 'text/html', Connection: 'close' }).end(page);
      clearTimeout(timer);
      server.close();
      resolve(code);
    });
    const timer = setTimeout(() => {
      server.close();
      reject(new NusecError('SIGN_IN_FAILED', 'nobody allowed it within five minutes'));
    }, waitMs);
    server.listen(0, '127.0.0.1', () => onPort((server.address() as AddressInfo).port));
  });
}

function openBrowser(address: string): void {
  const [command = '', ...args] = { darwin: ['open'], win32: ['cmd', '/c', 'start', ''] }[process.platform as string] ?? ['xdg-open'];
  spawn(command, [...args, address], { stdio: 'ignore', detached: true })
    .on('error', () => undefined)
    .unref();
}

/** The session in a file beside the profiles, and a profile that uses it. @returns the file */
function keep({ server, ca }: ServerOptions, session: string): string {
  const { host } = new URL(server);
  const tokenFile = join(dirname(profilesFile()), `${host.replaceAll(':', '-')}.session`);
  mkdirSync(dirname(tokenFile), { recursive: true, mode: 0o700 });
  rmSync(tokenFile, { force: true });
  createSecretFile(tokenFile, utf8(session));
  const { profiles } = readProfiles();
  writeProfiles({ current: host, profiles: { ...profiles, [host]: { server, ...(ca && { ca }), tokenFile } } });
  return tokenFile;
}
