import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What programs remember for their user stays out of the home of whoever runs the tests. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-state-'));
  process.env.XDG_STATE_HOME = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
