import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Keeps the state files of programs out of the home folder of the user who runs the tests. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-state-'));
  process.env.XDG_STATE_HOME = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
