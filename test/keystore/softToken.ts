import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPkcs11Keystore, type Pkcs11Options } from '../../src/keystore/pkcs11.ts';
import type { Keystore } from '../../src/keystore/port.ts';
import { closeAfterTest, temporaryFolder } from './temporary.ts';

/** A SoftHSM token of its own in a temporary folder. */

const modules = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
];
export const softHsm = modules.find(existsSync) ?? 'libsofthsm2.so';
export const pin = '87654321';
export const label = 'nusec-test';

export type SoftToken = { readonly folder: string; readonly tokens: string; readonly pinFile: string };

/** Makes a token and points SoftHSM of this process and its children at it. */
export function makeToken(folder: string = temporaryFolder()): SoftToken {
  const tokens = join(folder, 'tokens');
  mkdirSync(tokens);
  const configuration = join(folder, 'softhsm2.conf');
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF = configuration;
  initToken();
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
  return { folder, tokens, pinFile };
}

export function initToken(): void {
  execFileSync('softhsm2-util', ['--init-token', '--free', '--label', label, '--so-pin', 'administrator', '--pin', pin], {
    stdio: 'pipe',
  });
}

export async function openToken({ folder, pinFile }: SoftToken, options: Partial<Pkcs11Options> = {}): Promise<Keystore> {
  const keystore = await openPkcs11Keystore({ module: softHsm, label, pinFile, lock: join(folder, 'token'), ...options });
  closeAfterTest(keystore);
  return keystore;
}
