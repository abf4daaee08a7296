import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A SoftHSM token of its own for a benchmark, in a folder that the benchmark removes. */

const modules = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
];
const pin = '87654321';
const label = 'bench';

/** What a figure says when it cannot be measured here. */
export const softHsmMissing = 'SoftHSM is not installed (Debian package softhsm2)';

export type SoftHsm = { readonly module: string; readonly label: string; readonly pinFile: string };

/** Makes a token and points SoftHSM of this process and its children at it. @returns undefined where SoftHSM is not installed */
export function makeSoftHsm(folder: string): SoftHsm | undefined {
  const module = modules.find(existsSync);
  if (module === undefined) return undefined;
  const [tokens, configuration, pinFile] = [join(folder, 'tokens'), join(folder, 'softhsm2.conf'), join(folder, 'pin')];
  mkdirSync(tokens);
  writeFileSync(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  writeFileSync(pinFile, pin, { mode: 0o600 });
  process.env.SOFTHSM2_CONF = configuration;
  execFileSync('softhsm2-util', ['--init-token', '--free', '--label', label, '--so-pin', pin, '--pin', pin], { stdio: 'pipe' });
  return { module, label, pinFile };
}
