import { hash } from 'node:crypto';
import { fromHex, toHex, utf8 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import type { Share } from './shamir.ts';

/** A share as one line that can be printed and typed: `nusec-share-1-{backup id}-{threshold}-{index}-{share}-{checksum}`, all hex but the
 *  two numbers. The checksum (8 digits of SHA-256) finds typing errors; it proves nothing else. */
export type TextShare = Share & { readonly backupIdHex: string; readonly threshold: number };

const form = /^(nusec-share-1-([0-9a-f]{16})-([0-9]{1,3})-([0-9]{1,3})-([0-9a-f]{64}))-([0-9a-f]{8})$/;

export function shareToText({ backupIdHex, threshold, index, bytes }: TextShare): string {
  const line = `nusec-share-1-${backupIdHex}-${threshold}-${index}-${toHex(bytes)}`;
  return `${line}-${checksum(line)}`;
}

/** Takes upper case and blanks as people type them. @throws BAD_REQUEST */
export function shareFromText(text: string): TextShare {
  const match = form.exec(text.toLowerCase().replace(/\s+/g, ''));
  if (!match) throw new NusecError('BAD_REQUEST', 'this is not a share of a keystore backup');
  const [, line = '', backupIdHex = '', threshold, index, share = '', sum] = match;
  if (checksum(line) !== sum) throw new NusecError('BAD_REQUEST', 'the share was mistyped: its checksum does not fit');
  return { backupIdHex, threshold: Number(threshold), index: Number(index), bytes: fromHex(share) };
}

const checksum = (line: string): string => hash('sha256', utf8(line), 'hex').slice(0, 8);
