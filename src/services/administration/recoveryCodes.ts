import { scryptSync, timingSafeEqual } from 'node:crypto';
import { fromHex, toHex, utf8 } from '../../bytes.ts';
import { administratorsOf, operatorOf } from '../../domain/operatorEffects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { type HashedCode, recoveryCodes, recoveryCodesMade, recoveryCodesStream, recoveryDelayHours } from '../../domain/recoveryCodes.ts';
import { isPast } from '../../domain/rules.ts';
import { NusecError } from '../../errors.ts';
import { hourMs } from '../../times.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, executeIf, nowIso, stateOf } from '../base/context.ts';
import { tellOfPeople, tokenEnd } from './operators.ts';

/** Recovery codes: 100 random bits each, written for people to copy; only scrypt hashes are stored. */

const by = 'system:recovery';
/** Without what looks alike on paper. */
const letters = '23456789ABCDEFGHJKLMNPQRSTUVWXYZ';
const codeChars = 20;
const saltBytes = 16;
/** About a tenth of a second and 64 MiB for each guess. */
const slow = { N: 65_536, r: 8, p: 1, maxmem: 128 * 1024 * 1024 };

/** @param delay whether they count only after the delay of a recovery @returns the codes, shown this once */
export async function makeRecoveryCodes(parts: Parts, delay: boolean): Promise<readonly string[]> {
  const { ctx } = parts;
  const codes = Array.from({ length: recoveryCodesMade }, () => newCode(ctx));
  const hashed = codes.map(code => {
    const salt = ctx.randomBytes(saltBytes);
    return { salt: toHex(salt), hash: hashOf(code, salt) };
  });
  const validFrom = new Date(ctx.clock().getTime() + (delay ? recoveryDelayHours * hourMs : 0)).toISOString();
  await execute(ctx, recoveryCodes, recoveryCodesStream, { type: 'MakeRecoveryCodes', codes: hashed, validFrom }, by);
  const detail = `new recovery codes were made; they count from ${validFrom} on`;
  await parts.alarms.raise({ code: 'PEOPLE_CHANGED', subject: 'recovery-codes', detail }, 'always');
  return codes;
}

/** Who gets another token, and its SHA-256. */
export type NewToken = { readonly name: string; readonly tokenSha256: string };

/** Gives one or two administrators another token: two codes are two pairs of eyes. The set of codes is used up with the first: a crash between the two steps
 *  costs the codes, and gives nothing away.
 *  @throws NusecError STATE (two administrators can help, no codes, too early), FORBIDDEN (wrong codes, no administrator), FOUR_EYES_REQUIRED (one person
 *    twice), NOT_FOUND */
export async function recoverByCodes(parts: Parts, given: readonly string[], first: NewToken, second?: NewToken): Promise<void> {
  const { ctx } = parts;
  const wanted = second === undefined ? [first] : [first, second];
  const right = rightOnes((await stateOf(ctx, recoveryCodes, recoveryCodesStream)).codes, given);
  const people = { name: first.name, ...(second !== undefined && { second: second.name }) };
  const command = { type: 'UseRecoveryCodes', ...people, right, now: nowIso(ctx) } as const;
  await executeIf(
    ctx,
    async read => {
      const known = await read(operators, operatorsStream);
      for (const { name } of wanted)
        if (!operatorOf(known, name).roles.includes('administrator')) throw new NusecError('FORBIDDEN', `${name} is no administrator`);
      const able = administratorsOf(known).filter(({ expiresAt }) => !isPast(expiresAt, nowIso(ctx)));
      if (able.length >= 2) throw new NusecError('STATE', 'two administrators have tokens that count: they give others new ones');
    },
    recoveryCodes,
    recoveryCodesStream,
    command,
    by,
  );
  for (const { name, tokenSha256 } of wanted) {
    const reset = { type: 'ResetOperatorToken', name, tokenSha256, expiresAt: tokenEnd(ctx) } as const;
    await execute(ctx, operators, operatorsStream, reset, by);
    await tellOfPeople(parts, name, `two recovery codes have given ${name} another token`);
  }
}

function newCode(ctx: Context): string {
  // 32 letters, so that five bits of a random byte are one.
  const text = [...ctx.randomBytes(codeChars)].map(byte => letters[byte % letters.length]).join('');
  return (text.match(/.{5}/g) ?? []).join('-');
}

const hashOf = (code: string, salt: Uint8Array): string => toHex(new Uint8Array(scryptSync(utf8(plain(code)), salt, 32, slow)));
const plain = (code: string): string => code.toUpperCase().replaceAll(/[^0-9A-Z]/g, '');

/** How many codes of the set were given; each counts once. */
function rightOnes(codes: readonly HashedCode[], given: readonly string[]): number {
  const few = given.slice(0, recoveryCodesMade);
  return codes.filter(({ salt, hash }) => few.some(code => timingSafeEqual(fromHex(hashOf(code, fromHex(salt))), fromHex(hash)))).length;
}
