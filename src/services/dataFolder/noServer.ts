import { join } from 'node:path';
import type { Settings } from '../../config.ts';
import { NusecError } from '../../errors.ts';
import { holdAlone } from '../../fileLock.ts';

/** @returns what lets servers start again @throws NusecError STATE when one runs at the data folder */
export function requireNoServer({ dataDir }: Pick<Settings, 'dataDir'>): () => void {
  const lock = holdAlone(join(dataDir, 'leader'));
  if (lock === undefined) throw new NusecError('STATE', `a server runs at ${dataDir}: stop it first`);
  return () => lock.release();
}
