import { readSettings } from '../config.ts';
import { NusecError } from '../errors.ts';
import { faultOf, placeOf } from '../eventstore/verify.ts';
import { readWitnessKey } from '../merkle/cosignature.ts';
import { fromPem } from '../pki/pem.ts';
import { partsOf } from '../services/backup/checkCopy.ts';
import { type Damage, damagesBeside } from '../services/dataFolder/damage.ts';
import { checkpointsIn } from '../services/proof/checkpointFiles.ts';
import { historyIn } from '../services/proof/checkpointHistory.ts';
import { judgeLog, type LogVerdict, ownRoot } from '../services/proof/logVerdict.ts';
import { readText } from './client.ts';
import { print, styled } from './output.ts';

/** Verifies the log of a data folder, for `nusec log verify` and `nusec verify --data`. */

export type LogOptions = {
  readonly data: string;
  readonly witness?: readonly string[];
  readonly witnessKey?: readonly string[];
  readonly trust?: string;
  readonly json?: boolean;
};

/** Prints the verdict. @throws NusecError STORE_DAMAGED (names the first event that does not hold, or what is damaged beside the log), CHECKPOINT_REFUSED
 *  (names the file), NOT_FOUND */
export async function verifyLog(options: LogOptions): Promise<void> {
  const { data } = options;
  const pem = options.trust === undefined ? ownRoot(data) : readText(options.trust, 'root certificate');
  const roots = pem === undefined ? [] : fromPem('CERTIFICATE', pem);
  const { witnessDir, witnesses: configured } = readSettings(data);
  const witnesses = options.witness ?? (witnessDir === undefined ? [] : [witnessDir]);
  const keys = options.witnessKey ?? configured.flatMap(({ key }) => key ?? []);
  const judged = judgeLog({ dataDir: data, witnesses, roots, witnessKeys: keys.map(readWitnessKey) });
  const verdict = { ...judged, refused: [...judged.refused, ...(options.witness ?? []).filter(isEmptyWitness).map(nothingThere)] };
  const beside = await damagesIn(data);
  const [refused] = verdict.refused;
  const [damage] = beside;
  const trusted = options.trust ?? (pem === undefined ? 'no root' : 'root.pem of the data folder');
  print(
    options,
    { ...verdict, beside, ok: verdict.ok && refused === undefined && damage === undefined },
    [textOf(verdict, trusted), ...besideText(beside)].join('\n'),
  );
  if (!verdict.ok) throw new NusecError('STORE_DAMAGED', faultOf(verdict));
  if (damage !== undefined) throw new NusecError('STORE_DAMAGED', `${damage.place} ${damage.detail}: put it back from a backup`);
  if (refused !== undefined) throw new NusecError('CHECKPOINT_REFUSED', `${refused.file}: ${refused.reason}`);
}

/** Of blobs, boot keys and databases. Read models are not looked at: they are built again. */
async function damagesIn(dataDir: string): Promise<readonly Damage[]> {
  const damages: Damage[] = [];
  for await (const damage of damagesBeside(partsOf(dataDir), 'integrity_check')) if (damage !== undefined) damages.push(damage);
  return damages;
}

const besideText = (beside: readonly Damage[]): readonly string[] =>
  beside.length === 0
    ? ['blobs, boot keys and databases beside the log are whole']
    : beside.map(({ place, detail }) => `${styled('red', 'damaged')} ${place}: ${detail}`);

/** A named witness must be compared: a folder that is not mounted must not look like one that agrees. */
const isEmptyWitness = (folder: string): boolean => historyIn(folder).length + checkpointsIn(folder).length === 0;

const nothingThere = (file: string) => ({ file, reason: 'no checkpoint is in this folder: is it the folder of a witness, and mounted?' });

function textOf(verdict: LogVerdict, trusted: string): string {
  const { checkpoints, refused } = verdict;
  const first = verdict.ok
    ? `${styled('green', 'whole')}: ${verdict.events} events in ${verdict.streams} streams`
    : `${styled('red', 'damaged')}: ${placeOf(verdict)} (${verdict.reason})`;
  const held = [...Map.groupBy(checkpoints, ({ file }) => file)].map(([file, signed]) => heldText(file, signed));
  const faults = refused.map(({ file, reason }) => `${styled('red', 'refused')} ${file}: ${reason}`);
  const trust = checkpoints.length === 0 ? 'no checkpoint: nothing outside the events speaks for them' : `signatures by ${trusted}`;
  return [first, ...held, ...faults, trust].join('\n');
}

function heldText(file: string, signed: LogVerdict['checkpoints']): string {
  const newest = signed.at(-1);
  const by = newest === undefined || newest.cosignedBy.length === 0 ? '' : `, cosigned by ${newest.cosignedBy.join(', ')}`;
  const count = signed.length === 1 ? '' : `${signed.length} checkpoints, the newest over `;
  return `held against ${file}: ${count}${newest?.size} events, signed ${newest?.time}${by}`;
}
