import type { ErrorCode } from '../errors.ts';
import type { RunEnd } from './programmerRun.ts';

/** What the operator does after a unit that was not built: about the chip, and about the cause. */

const chip: Readonly<Record<NonNullable<RunEnd['bin']>, string>> = {
  pass: '',
  hold: 'keep this chip: its unit is not finished; put it back and run the same command, or go on with another one',
  retry: 'nothing was burned on this chip: it may be tried again',
  scrap: 'this chip is scrap: it goes to the scrap bin and never into a product',
  reject: 'no unit was begun on this chip',
};

const cause: { readonly [Code in ErrorCode]?: string } = {
  ALLOTMENT_FROZEN: 'the OEM has frozen the share of this programmer: ask the OEM',
  CERTIFICATE_REVOKED: 'the OEM has suspended this programmer, or ended its certificate: ask the OEM',
  COUNT_EXHAUSTED: 'the count is used up; more units need a new package from the OEM',
  DEVICE_STATE: 'look whether the chip is new and both wires are on it',
  GRANT_EXPIRED: 'the server has given the reservation up meanwhile: run the same command again',
  GRANT_USED: 'the server has given the reservation up meanwhile: run the same command again',
  JOB_NOT_RUNNING: 'the OEM has stopped this job: ask the OEM when it goes on',
  LINK_FAILED: 'no connection to the chip: look at socket, power and wires',
  LINK_TIMEOUT: 'the chip does not answer: look at socket, power and wires',
  NOT_FOUND: 'import a package first: nusec package import FILE --programmer …',
  PACKAGE_REFUSED: 'a newer package was imported or made: import the newest one',
  PROGRAMMER_NOT_ACTIVE: 'the OEM has suspended this programmer: ask the OEM',
  RATE_LIMITED: 'wait a minute and go on',
  RELEASE_STATE: 'the OEM has withdrawn firmware of this job: ask the OEM',
  ROLLBACK: 'the firmware of this job is too old for its line: ask the OEM',
  SERVER_UNREACHABLE: 'look at the network between this programmer and the OEM, then run the same command',
  SPDM_UNSUPPORTED: 'the line asks for more than the bootloader of this job speaks: tell the OEM, who can change what the line asks for',
  STORE_FULL: 'the disk of the OEM’s server is full: tell the OEM, then run the same command',
  STORE_UNAVAILABLE: 'the OEM’s server cannot store anything: tell the OEM, then run the same command',
  UID_CONFLICT: 'the OEM knows a living device of this UID: put the chip aside and tell the OEM',
  UID_NOT_LISTED: 'the chip is not of the lots of this job: put it aside',
  VALUES_EXHAUSTED: 'the unit data of the package is used up: ask the OEM for a new package',
  WEAK_OR_CLONED_KEY: 'two chips have shown one key: put the chip aside and tell the OEM',
  WRONG_SITE: 'this job is built at another site: ask the OEM',
};

/** No other chip would fare better. */
export const stopsLine = (code: string): boolean =>
  [
    'ALLOTMENT_FROZEN',
    'CERTIFICATE_REVOKED',
    'COUNT_EXHAUSTED',
    'NOT_FOUND',
    'PACKAGE_REFUSED',
    'PROGRAMMER_NOT_ACTIVE',
    'RELEASE_STATE',
    'ROLLBACK',
    'SPDM_UNSUPPORTED',
    'VALUES_EXHAUSTED',
    'WRONG_SITE',
  ].includes(code);

/** One line: what happened, and what to do. */
export function adviceOn({ outcome, detail, bin }: RunEnd): string {
  const parts = [detail, cause[outcome as ErrorCode], bin && chip[bin]];
  return parts.filter(part => part !== undefined && part !== '').join('; ') || 'the programmer has ended this unit';
}
