import { fromHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';

/** A UID is 16 bytes, 32 lower-case hex digits in text. A 96-bit chip UID is padded with zeros on the right. */
const uidBytes = 16;
const chipUidBytes = 12;

/** @param chipUid as read from the chip: 12 or 16 bytes
 *  @throws NusecError BAD_REQUEST */
export function uidFromChip(chipUid: Uint8Array): Uint8Array {
  if (chipUid.length !== chipUidBytes && chipUid.length !== uidBytes) throw new NusecError('BAD_REQUEST', 'a chip UID has 12 or 16 bytes');
  const uid = new Uint8Array(uidBytes);
  uid.set(chipUid);
  return uid;
}

/** @param uidHex 32 lower-case hex digits; 24 for a 96-bit UID
 *  @throws NusecError BAD_REQUEST */
export function uidFromHex(uidHex: string): Uint8Array {
  if (!/^(?:[0-9a-f]{24}|[0-9a-f]{32})$/.test(uidHex)) throw new NusecError('BAD_REQUEST', 'a UID is 32 lower-case hex digits');
  return uidFromChip(fromHex(uidHex));
}
