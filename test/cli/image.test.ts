import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../scripts/demo/processes.ts';
import { covers } from '../support/covers.ts';

/** `nusec image`, as a process, on the images that the bootloader has judged. */

const vectors = (path: string): string => fileURLToPath(new URL(`../vectors/mcuboot/${path}`, import.meta.url));
const image = (name: string): string => vectors(`images/${name}`);
const folder = mkdtempSync(join(tmpdir(), 'nusec-image-'));
const file = (name: string): string => join(folder, name);
const nusec = (...args: readonly string[]) => run(['image', ...args], process.env);
const verify = async (path: string, ...args: readonly string[]) => {
  const { status, output } = await nusec('verify', path, ...args);
  return { status, ...output };
};
const vendorKey = file('sign.pub.pem');
const deviceKey = file('device.pem');

beforeAll(() => {
  const pem = (der: string, label: string): string => {
    const text = readFileSync(vectors(`keys/${der}`))
      .toString('base64')
      .match(/.{1,64}/g)
      ?.join('\n');
    return `-----BEGIN ${label}-----\n${text}\n-----END ${label}-----\n`;
  };
  writeFileSync(vendorKey, pem('sign-p256.pub.der', 'PUBLIC KEY'));
  writeFileSync(deviceKey, pem('enc-p256.priv.der', 'PRIVATE KEY'));
  for (const key of ['sign-p384', 'sign-rsa2048']) writeFileSync(file(`${key}.pem`), pem(`${key}.pub.der`, 'PUBLIC KEY'));
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(file('own.pem'), privateKey.export({ format: 'pem', type: 'pkcs8' }));
  writeFileSync(file('own.pub.pem'), publicKey.export({ format: 'pem', type: 'spki' }));
  const device = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(file('target.pem'), device.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  writeFileSync(file('target.pub.pem'), device.publicKey.export({ format: 'pem', type: 'spki' }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('nusec image verify', () => {
  it('gives the bootloader’s verdict with its reason, and says it with its exit status (RULE-15)', async () => {
    covers('RULE-15');
    const five = image('02-p256-v2.0.0-seccnt5.bin');
    expect(await verify(five, '--key', vendorKey)).toEqual({ status: 0, ok: true, reason: null });
    expect(await verify(five, '--key', vendorKey, '--device-counter', '6')).toMatchObject({
      status: 1,
      ok: false,
      reason: 'rollback-security-counter-too-low',
    });
    expect(await verify(five, '--key', file('own.pub.pem'))).toMatchObject({ status: 1, reason: 'unknown-signing-key' });
    expect(await verify(five, '--key', vendorKey, '--slot-bytes', '4096')).toMatchObject({ status: 1, ok: false });
    expect(await verify(image('04-p256-fullpubkey-seccnt6.bin'), '--key', vendorKey)).toMatchObject({ status: 0, ok: true });
    const encrypted = image('07-p256-enc-aes128.bin');
    expect(await verify(encrypted, '--key', vendorKey)).toMatchObject({ reason: 'encrypted-but-no-enc-key-configured' });
    expect(await verify(encrypted, '--key', vendorKey, '--encryption-key', deviceKey)).toMatchObject({ status: 0, ok: true });
    expect(await verify(image('20-p384.bin'), '--key', vendorKey)).toMatchObject({ status: 1, unsupported: 'unsupported-sha384' });
  });

  it('names the algorithm that no bootloader of ours has, also with a key of it', async () => {
    for (const [name, key, reason, unsupported] of [
      ['20-p384', 'sign-p384', 'hash-tlv-wrong-algorithm', 'unsupported-sha384'],
      ['21-rsa2048', 'sign-rsa2048', 'unknown-signing-key', 'unsupported-rsa'],
    ] as const)
      expect(await verify(image(`${name}.bin`), '--key', file(`${key}.pem`))).toEqual({ status: 1, ok: false, reason, unsupported });
  });
});

describe('nusec image', () => {
  it('signs and encrypts what the bootloader takes, and shows where images differ', async () => {
    const five = image('02-p256-v2.0.0-seccnt5.bin');
    const [signed, sealed] = [file('signed.bin'), file('sealed.bin')];
    expect((await nusec('sign', five, '--key', file('own.pem'), '--counter', '7', '--out', signed)).status).toBe(0);
    expect(await verify(signed, '--key', file('own.pub.pem'), '--device-counter', '7')).toMatchObject({ ok: true });
    const to = ['--to', file('target.pub.pem'), '--key', file('own.pem'), '--bits', '256'];
    expect((await nusec('encrypt', signed, ...to, '--out', sealed)).status).toBe(0);
    const opened = await verify(sealed, '--key', file('own.pub.pem'), '--encryption-key', file('target.pem'));
    expect(opened).toMatchObject({ status: 0, ok: true });
    expect(await verify(sealed, '--key', file('own.pub.pem'), '--encryption-key', deviceKey)).toMatchObject({
      reason: 'enc-key-unwrap-failed',
    });
    expect((await nusec('inspect', signed)).output).toMatchObject({ version: '2.0.0+7', securityCounter: 7, encrypted: false });
    const { status, output } = await nusec('diff', five, signed);
    expect(status).toBe(1);
    expect(output).toMatchObject({ differences: expect.arrayContaining([{ what: 'securityCounter', first: '5', second: '7' }]) });
    // Of what is encrypted for somebody else the hash cannot be seen: no value, in the sign of tables.
    const { differences } = (await nusec('diff', signed, sealed)).output as { differences: readonly { what: string; second: string }[] };
    expect(differences.find(({ what }) => what === 'imageHash')).toMatchObject({ second: '–' });
  });
});
