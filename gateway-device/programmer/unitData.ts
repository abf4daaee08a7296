import { equalBytes, fromBase64url, toBase64url } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { putObject } from '../../src/production/devauth/transfer.ts';
import type { Grant } from '../../src/production/grant.ts';
import type { Receipt } from '../../src/production/receipt.ts';
import { reportOf, unitObjectAt, valuesOf } from '../../src/production/unitData.ts';
import type { UnitDataFacts } from './nvm.ts';
import { jobOfUnit, journalOf, learn, type Unit } from './unit.ts';

/** Unit data: the package has the values, the number of the grant says which ones are of this unit, and the chip signs that it keeps them. */

/** A number that was used before would give a second unit the same values, whatever the server says. @throws NusecError GRANT_REFUSED */
export function requireFreshNumber(unit: Unit, { number }: Grant): void {
  const isUsed = unit.payload.unitData !== undefined && number <= (jobOfUnit(unit).newestNumber ?? 0);
  if (isUsed) throw new NusecError('GRANT_REFUSED', `reservation ${number} had its values already`);
}

/** Written down with the grant: after a cut the same unit has the same values. @throws NusecError VALUES_EXHAUSTED */
export function keepUnitData(unit: Unit, { number }: Grant): void {
  const { unitData: rule } = unit.payload;
  if (rule === undefined || journalOf(unit).facts.unitData !== undefined) return;
  const values = valuesOf(rule, number);
  const [plain, sealed] = [unitObjectAt(values, 'plain'), unitObjectAt(values, 'sealed')];
  const objects = { ...(plain && { plain: toBase64url(plain) }), ...(sealed && { sealed: toBase64url(sealed) }) };
  learn(unit, { unitData: { values: reportOf(values), ...objects } });
}

/** @param step `plain`: over DevAuth before the lock, `sealed`: in the session */
export async function writeUnitData(unit: Unit, host: DevAuthHost, step: 'plain' | 'sealed', pieceBytes: number): Promise<void> {
  const object = journalOf(unit).facts.unitData?.[step];
  if (object !== undefined) await putObject(host, 'unitData', fromBase64url(object), pieceBytes);
}

/** What the chip signs to keep. @throws NusecError RECEIPT_REFUSED */
export function checkUnitData(unit: Unit, { unitDataSha256 }: Receipt): void {
  const { plain, sealed = plain } = journalOf(unit).facts.unitData ?? ({} as Partial<UnitDataFacts>);
  if (sealed === undefined) return;
  if (unitDataSha256 === undefined || !equalBytes(unitDataSha256, sha256(fromBase64url(sealed))))
    throw new NusecError('RECEIPT_REFUSED', 'the receipt does not prove that the chip keeps its unit data');
}
