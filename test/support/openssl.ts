import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { toPem } from '../../src/pki/pem.ts';
import type { Enrolment } from '../../src/services/identity/issuance.ts';
import { processMs } from './limits.ts';

/** What the responder on this port answers `openssl ocsp` about a certificate (`leaf.pem`). */
export async function ocspStatus(crlPort: number, { ica, root, certificate }: Enrolment): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-ocsp-'));
  const files = { 'ica.pem': ica, 'root.pem': root, 'leaf.pem': certificate };
  for (const [name, der] of Object.entries(files)) writeFileSync(join(folder, name), toPem('CERTIFICATE', der));
  const url = `http://127.0.0.1:${crlPort}/ocsp`;
  const args = ['-issuer', 'ica.pem', '-CAfile', 'root.pem', '-verify_other', 'ica.pem', '-cert', 'leaf.pem', '-url', url];
  const { stdout } = await promisify(execFile)('openssl', ['ocsp', ...args], { cwd: folder, timeout: processMs });
  rmSync(folder, { recursive: true });
  return stdout;
}
