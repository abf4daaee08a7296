import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HttpClientOptions } from '../../gateway-device/link/httpClient.ts';
import { stateFolder } from '../config.ts';
import { sha256Hex } from '../digest.ts';
import { NusecError } from '../errors.ts';
import { fromPem } from '../pki/pem.ts';

/** Remembers the version of the newest trust bundle of each root, so that a server which shows an older one is not accepted: it could name an
 *  issuing CA that was taken out of use (I10, T14). Where nothing can be written, nothing is remembered. */

/** @param ca RootCA, PEM @returns for `createHttpClient`; throws NusecError ROLLBACK for a bundle that is older than one seen before */
export function rememberBundles(ca: string, folder = join(stateFolder(), 'trust')): NonNullable<HttpClientOptions['keepBundle']> {
  const file = join(folder, `${sha256Hex(fromPem('CERTIFICATE', ca)[0] ?? '')}.version`);
  return ({ bundle }) => {
    const known = versionIn(file);
    if (bundle.version < known)
      throw new NusecError(
        'ROLLBACK',
        `the server shows trust bundle ${bundle.version}, but had ${known} before; if its store was put back on purpose, delete ${file}`,
      );
    if (bundle.version > known) write(folder, file, String(bundle.version));
    return bundle;
  };
}

function versionIn(file: string): number {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}

/** The name appears when all of it is there. */
function write(folder: string, file: string, text: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.${process.pid}`, text, { mode: 0o600 });
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    // A home that cannot be written to.
  }
}
