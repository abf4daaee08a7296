import { execFileSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { operators, operatorsStream } from '../../../src/domain/operators.ts';
import { verifyStore } from '../../../src/eventstore/verify.ts';
import { bootKeyId } from '../../../src/keystore/bootKeys.ts';
import { damagedKeys } from '../../../src/keystore/custody.ts';
import { openAttestationLog } from '../../../src/services/base/attestationLog.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { attestationsFile, openContext } from '../../../src/services/dataFolder/open.ts';
import { covers } from '../../support/covers.ts';
import { testSettings } from '../../support/server.ts';

/** A data folder as an earlier version left it (test/vectors/earlier): every database is opened, brought to today's tables, and has what it had. */

const folder = new URL('../../vectors/earlier/folder-2026-11-29.tar.gz', import.meta.url).pathname;
/** As `ensure` gave them to the factory then. */
const bootKeys = {
  1: 'f3b6ca07b8e141d53fa756b1f5ab6229fb7f2423b6c54410a17662ab46031ad474c00dfa6bd007a6c37b57410e361cc9f4ab869a55086ea2d111ce5801e46208',
  2: 'f899aa7bd1bd02eb4cc0c93282fe6565a2b22ef822f13b9637ca7cef85e4363d1398d034b68e9ce6bf64bdfb35ca4ffdc641f6c8be2737ee0ce616a3e227a154',
} as const;
const spki = (point: string): Uint8Array => fromHex(`3059301306072a8648ce3d020106082a8648ce3d03010703420004${point}`);
const uid = (n: number): Uint8Array => new Uint8Array(16).fill(n);
const keyId = (n: number): string => bootKeyId(uid(n), uid(0xa0 + n), 'bl2');

let data: string;
beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), 'nusec-earlier-'));
  execFileSync('tar', ['-xzf', folder, '-C', data]);
});
afterEach(() => rmSync(data, { recursive: true }));

function ask<Value>(file: string, sql: string): Value {
  const db = new Database(join(data, file), { readonly: true });
  try {
    return db.prepare<Value>(sql).pluck().get() as Value;
  } finally {
    db.close();
  }
}
const columnsOf = (file: string, table: string): string => ask(file, `SELECT group_concat(name) FROM pragma_table_info('${table}')`);

it('the databases are of other tables than today’s, or this shows nothing', () => {
  expect(ask('events.db', 'PRAGMA user_version')).toBe(5);
  expect(columnsOf('custody.db', 'custody_key')).not.toContain('crc');
  expect(columnsOf('attestations.db', 'attestations')).not.toContain('number');
});

it('opens: boot keys sign and stay destroyed, the log, people, read models and attestations are there, and nothing counts as damaged', async () => {
  covers('R89', 'I5');
  const { ctx, close } = await openContext(testSettings(data), { https: 0, crl: 0 });
  try {
    for (const [n, point] of Object.entries(bootKeys)) {
      const publicKey = await ctx.bootKeys.ensure(keyId(Number(n)));
      expect(toHex(publicKey)).toBe(toHex(spki(point)));
      const signature = await ctx.bootKeys.sign(keyId(Number(n)), sha256(utf8('a boot loader')));
      const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
      expect(verify('sha256', utf8('a boot loader'), key, signature)).toBe(true);
    }
    await expect(ctx.bootKeys.ensure(keyId(3))).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    expect(await ctx.bootKeys.ensure(keyId(4))).toHaveLength(91);
    expect([...(await stateOf(ctx, operators, operatorsStream)).byName.keys()]).toEqual(['alice', 'bob']);
    expect(await ctx.store.head()).toBe(19);
    await ctx.reads.waitFor(19, { patient: true });
    expect(ctx.reads.health().projections.every(({ status }) => status === 'live')).toBe(true);
  } finally {
    await close();
  }
  const attestations = openAttestationLog(attestationsFile(data));
  expect(attestations.page(toHex(uid(1)), { limit: 9 })).toMatchObject([{ result: 'passed', line: 'thermostat', via: 'mqtt' }]);
  expect(attestations.page(toHex(uid(2)), { limit: 9 })).toMatchObject([{ result: 'failed', reason: 'SIGNATURE_INVALID' }]);
  expect(attestations.lastSequence(uid(9))).toBe(41);
  attestations.close();
  expect(verifyStore(join(data, 'events.db'))).toMatchObject({ ok: true, events: 19 });
  expect(ask('custody.db', 'SELECT count(*) FROM custody_key WHERE crc IS NULL')).toBe(0);
  const custody = new Database(join(data, 'custody.db'));
  expect([...damagedKeys(custody)].filter(id => id !== undefined)).toEqual([]);
  custody.close();
  expect(ask('events.db', 'PRAGMA user_version')).toBe(6);
  expect(columnsOf('attestations.db', 'attestations')).toContain('number');
});
