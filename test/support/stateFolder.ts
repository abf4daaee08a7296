import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Which server a person works with, in the shell that the tests were started from. */
const ofPerson = ['NUSEC_SERVER', 'NUSEC_CA', 'NUSEC_TOKEN', 'NUSEC_TOKEN_FILE', 'NUSEC_PROFILE', 'NUSEC_PROFILES'];

/** Keeps the state files of programs out of the home folder of the user who runs the tests, and that person's server out of the tests;
 *  the many processes of the tests share what one has compiled. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-state-'));
  process.env.XDG_STATE_HOME = folder;
  for (const name of ofPerson) delete process.env[name];
  process.env.NODE_COMPILE_CACHE = join(folder, 'compiled');
  return () => rmSync(folder, { recursive: true, force: true });
}
