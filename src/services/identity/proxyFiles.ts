import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, narrowFolder } from '../../folder.ts';
import type { TlsIdentity } from './serverCertificate.ts';

const fileMode = 0o600;

/** Writes what a TLS terminator in front of the server shows and trusts, into a folder that only our user enters: `server.pem`, key and chain, and
 *  `clients.pem`, the roots that clients' certificates end in. The terminator reads them when it starts, and has to be told of new ones.
 *  @param slot of this process: each writes them  @throws NusecError FOLDER_REFUSED when others can enter the folder and it is not ours to change */
export function writeProxyFiles(folder: string, slot: number, { key, cert, clientRootsPem }: TlsIdentity): void {
  makeFolder(folder);
  narrowFolder(folder);
  const replace = (name: string, text: string): void => {
    const temporary = join(folder, `${name}.${slot}`);
    writeFileSync(temporary, text, { mode: fileMode });
    renameSync(temporary, join(folder, name));
  };
  if (cert !== '') replace('server.pem', `${key}${cert}`);
  replace('clients.pem', clientRootsPem);
}
