import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Keeps the state files of programs out of the home folder of the user who runs the tests; the many processes of the tests share what one has compiled. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-state-'));
  process.env.XDG_STATE_HOME = folder;
  process.env.NODE_COMPILE_CACHE = join(folder, 'compiled');
  return () => rmSync(folder, { recursive: true, force: true });
}
