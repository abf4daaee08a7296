import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import type { Keystore } from '../../src/keystore/port.ts';
import { openSoftwareKeystore, type SoftwareKeystoreOptions } from '../../src/keystore/software.ts';
import { cheapCost, passphrase } from './secrets.ts';

/** Folders and keystores that go away after each test. */

const folders: string[] = [];
const keystores: Keystore[] = [];

afterEach(async () => {
  await Promise.all(keystores.splice(0).map(keystore => keystore.close()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-keystore-'));
  folders.push(folder);
  return folder;
}

export const closeAfterTest = (keystore: Keystore): void => {
  keystores.push(keystore);
};

export async function openKeystore(file: string, options: Partial<SoftwareKeystoreOptions> = {}): Promise<Keystore> {
  const keystore = await openSoftwareKeystore({ file, unlock: { passphrase }, create: true, argon2Cost: cheapCost, ...options });
  closeAfterTest(keystore);
  return keystore;
}

export const newKeystore = (options: Partial<SoftwareKeystoreOptions> = {}): Promise<Keystore> =>
  openKeystore(join(temporaryFolder(), 'keyset'), options);
