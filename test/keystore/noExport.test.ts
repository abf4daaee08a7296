import { createPrivateKey, createSecretKey, hkdfSync, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { createBootKeys } from '../../src/keystore/bootKeys.ts';
import { openCustody } from '../../src/keystore/custody.ts';
import { openKeyset } from '../../src/keystore/keyset.ts';
import { unwrapKey } from '../../src/keystore/kwp.ts';
import type { Keystore } from '../../src/keystore/port.ts';
import { covers } from '../support/covers.ts';
import { operations } from './operations.ts';
import { cheapCost, passphrase } from './secrets.ts';
import { openKeystore, temporaryFolder } from './temporary.ts';

const kdf = { salt: utf8('salt'), info: utf8('info') };
const message = utf8('message');
const custodySalt = utf8('NuSEC custody v1'.padEnd(64, '.'));

/** A keystore with every kind of key, and every secret in it, read behind its back. */
async function keystoreWithSecrets() {
  const folder = temporaryFolder();
  const file = join(folder, 'keyset');
  const drawn: Uint8Array[] = [];
  const remembering = (bytes: number): Uint8Array => {
    const value = new Uint8Array(randomBytes(bytes));
    if (bytes === 32) drawn.push(value.slice());
    return value;
  };
  const keystore = await openKeystore(file, { randomBytes: remembering, argon2Cost: cheapCost });
  await Promise.all([keystore.generate('root/1', 'P-384'), keystore.generate('ica/1', 'P-256'), keystore.generate('kek/1', 'AES-256')]);
  await keystore.derive('ica/1', (await keystore.publicKey('ica/1')).subarray(-65), kdf, 'derived');
  const { keys, entries } = await openKeyset(readFileSync(file), { passphrase });
  const secrets = entries.flatMap(entry => {
    const secret = unwrapKey(keys.entries, entry.wrapped);
    return entry.algorithm === 'AES-256' ? [secret, ...wrappingKeysOf(secret)] : [secret, scalarOf(secret)];
  });
  return { folder, keystore, secrets: [...secrets, ...drawn, utf8(passphrase)] };
}

const wrappingKeysOf = (kek: Uint8Array): readonly Uint8Array[] =>
  ['boot/a', 'boot/b'].map(context => new Uint8Array(hkdfSync('sha256', kek, custodySalt, utf8(context), 32)));

function scalarOf(pkcs8: Uint8Array): Uint8Array {
  const { d } = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' }).export({ format: 'jwk' });
  return Buffer.from(d as string, 'base64url');
}

/** The forms in which bytes turn up in files, JSON and inspection; in base64 whole groups, whatever follows. */
function formsOf(secret: Buffer): readonly string[] {
  const groups = secret.subarray(0, secret.length - (secret.length % 3));
  const hex = secret.toString('hex');
  const spacedHex = hex.match(/../g)?.join(' ') ?? '';
  return [
    secret.toString('latin1'),
    hex,
    spacedHex,
    secret.join(','),
    secret.join(', '),
    groups.toString('base64'),
    groups.toString('base64url'),
  ];
}

function expectNone(secrets: readonly Uint8Array[], where: string, text: string): void {
  // Inspection breaks long lists of numbers into lines.
  const joined = text.replace(/,\s+/g, ', ');
  for (const form of secrets.flatMap(secret => formsOf(Buffer.from(secret)))) {
    if (text.includes(form) || joined.includes(form)) expect.fail(`${where} holds a secret`);
  }
}

describe('no way out for a private key (RULE-1, T17)', () => {
  it('offers exactly these operations and not one more property', async () => {
    covers('RULE-1', 'T17');
    const { keystore } = await keystoreWithSecrets();
    expect(Reflect.ownKeys(keystore).sort()).toEqual(operations);
    expect(Object.getPrototypeOf(keystore)).toBe(Object.prototype);
    expect(Object.isFrozen(keystore)).toBe(true);
    for (const operation of Object.values(keystore)) expect(Object.keys(operation)).toEqual([]);
  });

  it('shows no secret in JSON, in inspection, in any result or in any error', async () => {
    covers('RULE-1', 'T17');
    const { keystore, secrets } = await keystoreWithSecrets();
    const shown = [keystore, ...(await everyOutcome(keystore))];
    for (const each of shown) {
      expectNone(secrets, 'inspection', inspect(each, { depth: null, showHidden: true, maxArrayLength: null, maxStringLength: null }));
      expectNone(secrets, 'JSON', JSON.stringify(each) ?? '');
      for (const bytes of bytesIn(each)) expectNone(secrets, 'result', Buffer.from(bytes).toString('latin1'));
      expect(each).not.toBeInstanceOf(createSecretKey(Buffer.alloc(32)).constructor);
    }
  });

  it('wraps nothing under a key that a peer knows too, which would be an export', async () => {
    covers('RULE-1', 'T17');
    const { keystore } = await keystoreWithSecrets();
    await expect(keystore.generateWrapped('derived', 'boot/x')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    await expect(keystore.signWrapped('derived', 'boot/x', new Uint8Array(152), sha256(message))).rejects.toMatchObject({
      code: 'KEY_REFUSED',
    });
  });

  it('runs no AES-GCM under a wrapping key', async () => {
    const { keystore } = await keystoreWithSecrets();
    const custodyKdf = { salt: custodySalt, info: utf8('boot/x') };
    await expect(keystore.seal('kek/1', custodyKdf, new Uint8Array(12), message, message)).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    // No other salt up to the block of SHA-256 is the same HMAC key: zeros at its end would be.
    expect([custodySalt.length, custodySalt.at(-1)]).toEqual([64, '.'.charCodeAt(0)]);
  });

  it('opens a wrapped key only under its own context and key, also when it is cached', async () => {
    const { keystore } = await keystoreWithSecrets();
    await keystore.generate('kek/2', 'AES-256');
    const { wrapped } = await keystore.generateWrapped('kek/1', 'boot/a');
    expect(wrapped).toHaveLength(152);
    await keystore.signWrapped('kek/1', 'boot/a', wrapped, sha256(message));
    const refused = { code: 'KEY_REFUSED' };
    await expect(keystore.signWrapped('kek/1', 'boot/b', wrapped, sha256(message))).rejects.toMatchObject(refused);
    await expect(keystore.signWrapped('kek/2', 'boot/a', wrapped, sha256(message))).rejects.toMatchObject(refused);
    await expect(
      keystore.signWrapped(
        'kek/1',
        'boot/a',
        wrapped.map((byte, at) => (at === 80 ? byte ^ 1 : byte)),
        sha256(message),
      ),
    ).rejects.toMatchObject(refused);
    await keystore.destroy('kek/1');
    await expect(keystore.signWrapped('kek/1', 'boot/a', wrapped, sha256(message))).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });
});

describe('no key material in files (T16, RULE-1)', () => {
  it('keeps keyset, custody and every file beside them free of secrets', async () => {
    covers('T16', 'RULE-1');
    const { folder, keystore, secrets } = await keystoreWithSecrets();
    const custody = openCustody(join(folder, 'custody.db'));
    const bootKeys = createBootKeys(keystore, custody, async () => 'kek/1');
    await bootKeys.ensure('boot/a');
    await bootKeys.sign('boot/a', sha256(message));
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    expect(names.length).toBeGreaterThanOrEqual(4);
    for (const name of names) {
      const content = readFileSync(join(folder, name), 'latin1');
      expectNone(secrets, name, content);
      expect(content, `${name} holds PKCS#8`).not.toContain(
        Buffer.from('301306072a8648ce3d020106082a8648ce3d030107046d', 'hex').toString('latin1'),
      );
    }
    await custody.close();
  });
});

/** Calls every operation, rightly and wrongly. */
async function everyOutcome(keystore: Keystore): Promise<readonly unknown[]> {
  const wrapped = await keystore.generateWrapped('kek/1', 'boot/a');
  const results = await Promise.allSettled([
    keystore.generate('new', 'P-256'),
    keystore.generate('root/1', 'P-256'),
    keystore.publicKey('root/1'),
    keystore.publicKey('kek/1'),
    keystore.sign('ica/1', message),
    keystore.sign('kek/1', message),
    keystore.derive('ica/1', message, kdf, 'other'),
    keystore.derive('ica/1', (await keystore.publicKey('ica/1')).subarray(-65), kdf, 'other'),
    keystore.mac('kek/1', message),
    keystore.seal('kek/1', kdf, new Uint8Array(12), message, message),
    keystore.seal('kek/1', kdf, message, message, message),
    keystore.signWrapped('kek/1', 'boot/a', wrapped.wrapped, sha256(message)),
    keystore.signWrapped('kek/1', 'boot/b', wrapped.wrapped, sha256(message)),
    keystore.signWrapped('kek/1', 'boot/a', message, sha256(message)),
    keystore.destroy('none'),
    keystore.list(),
    keystore.health(),
  ]);
  expect(results.filter(each => each.status === 'rejected')).toHaveLength(8);
  return [wrapped, ...results.map(each => (each.status === 'fulfilled' ? each.value : each.reason))];
}

function bytesIn(value: unknown): readonly Uint8Array[] {
  if (value instanceof Uint8Array) return [value];
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(bytesIn) : [];
}
