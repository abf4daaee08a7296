import {
  createDecipheriv,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import type { Keystore } from '../../src/keystore/port.ts';
import { covers } from '../support/covers.ts';
import { operations } from './operations.ts';

/** What every keystore driver must do. @param open gives a keystore; the same storage each time within one test */
export function describeKeystore(driver: string, open: () => Promise<Keystore>): void {
  describe(`keys of the ${driver} keystore`, () => {
    it('generates CA and boot keys inside and gives only their public halves (R1, R101, RULE-1)', async () => {
      covers('R1', 'R101', 'RULE-1');
      const keystore = await open();
      const root = await keystore.generate('root/1', 'P-384');
      const ica = await keystore.generate('ica/device/1', 'P-256');
      expect([root.publicKey?.length, ica.publicKey?.length]).toEqual([120, 91]);
      expect(await keystore.publicKey('root/1')).toEqual(root.publicKey);
      expect(Object.keys(root).sort()).toEqual(['algorithm', 'createdAt', 'id', 'publicKey']);
    });

    it.each([
      ['P-256', 'sha256'],
      ['P-384', 'sha384'],
    ] as const)('signs with %s over %s, in DER', async (algorithm, hash) => {
      const keystore = await open();
      const { publicKey } = await keystore.generate('k', algorithm);
      // The larger one, as a revocation list is, in several turns.
      for (const each of [message, new Uint8Array(200_000).fill(1)])
        expect(verifies(hash, publicKey as Uint8Array, await keystore.sign('k', each), each)).toBe(true);
    });

    it('has no operation that gives out a key (RULE-1, T17)', async () => {
      covers('RULE-1', 'T17');
      expect(Object.keys(await open()).toSorted()).toEqual(operations);
    });

    it('signs for many at once, each its own message', async () => {
      const keystore = await open();
      const { publicKey } = await keystore.generate('k', 'P-256');
      const messages = Array.from({ length: 200 }, (_, index) => utf8(`message ${index}`));
      const signatures = await Promise.all(messages.map(each => keystore.sign('k', each)));
      for (const [index, signature] of signatures.entries()) {
        expect(verifies('sha256', publicKey as Uint8Array, signature, messages[index])).toBe(true);
      }
    });

    it('signs what answers a request only when the request’s own signature holds, for many at once (RULE-10)', async () => {
      covers('RULE-10');
      const keystore = await open();
      const { publicKey } = await keystore.generate('k', 'P-256');
      const requester = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const spki = new Uint8Array(requester.publicKey.export({ type: 'spki', format: 'der' }));
      const proofOf = (text: string) => {
        const signed = utf8(text);
        return { curve: 'P-256', publicKey: spki, message: signed, signature: sign('sha256', signed, requester.privateKey) } as const;
      };
      const asked = Array.from({ length: 60 }, (_, index) => ({
        message: utf8(`certificate ${index}`),
        proof: proofOf(`request ${index}`),
      }));
      const answers = await Promise.allSettled(
        asked.map(({ message: each, proof }, index) => {
          if (index % 3 === 1) return keystore.signProven('k', each, { ...proof, message: utf8('another request') });
          if (index % 3 === 2) return keystore.signProven('k', each, { ...proof, publicKey: publicKey as Uint8Array });
          return keystore.signProven('k', each, proof);
        }),
      );
      for (const [index, answer] of answers.entries()) {
        if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'CSR_SIGNATURE' });
        else expect(verifies('sha256', publicKey as Uint8Array, answer.value, asked[index]?.message)).toBe(true);
        expect(answer.status).toBe(index % 3 === 0 ? 'fulfilled' : 'rejected');
      }
      const offCurve = { ...proofOf('request'), publicKey: Uint8Array.from(spki, (byte, index) => (index < 27 ? byte : 1)) };
      await expect(keystore.signProven('k', message, offCurve)).rejects.toMatchObject({ code: 'CSR_SIGNATURE' });
      await expect(keystore.signProven('nobody', message, proofOf('request'))).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
      const { publicKey: other } = await keystore.generate('m', 'P-256');
      const both = await Promise.all(['k', 'm'].map(id => keystore.signProven(id, message, proofOf('request'))));
      expect([publicKey, other].map((spkiOf, i) => verifies('sha256', spkiOf as Uint8Array, both[i] as Uint8Array))).toEqual([true, true]);
      // Another key of the same name signs in the place of the one that was destroyed.
      await keystore.destroy('k');
      const { publicKey: next } = await keystore.generate('k', 'P-256');
      expect(verifies('sha256', next as Uint8Array, await keystore.signProven('k', message, proofOf('request')))).toBe(true);
      const { publicKey: larger } = await keystore.generate('l', 'P-384');
      expect(verifies('sha384', larger as Uint8Array, await keystore.signProven('l', message, proofOf('request')))).toBe(true);
    });

    it('is shared: keys that one process makes or destroys are there, or gone, for the others', async () => {
      const [one, other] = [await open(), await open()];
      const names = ['a', 'b', 'c', 'd', 'e', 'f'];
      const generate = (keystore: Keystore, id: string) =>
        keystore.generate(id, 'P-256').catch(error => {
          expect(error).toMatchObject({ code: 'KEY_EXISTS' });
        });
      await Promise.all(names.flatMap(id => [generate(one, id), generate(other, id)]));
      const agreed = new Map<string, string>();
      for (const id of names) {
        agreed.set(id, toHex(await one.publicKey(id)));
        expect(toHex(await other.publicKey(id))).toBe(agreed.get(id));
        expect(verifies('sha256', await one.publicKey(id), await other.sign(id, message))).toBe(true);
      }
      await one.destroy('a');
      await expect.poll(async () => (await other.list()).map(key => key.id).toSorted()).toEqual(names.slice(1));
      await expect(other.sign('a', message)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
      await Promise.all([one.close(), other.close()]);
      expect((await (await open()).list()).map(key => key.id).toSorted()).toEqual(names.slice(1));
    });

    it('keeps every key over a restart, and forgets destroyed ones', async () => {
      const first = await open();
      await Promise.all([first.generate('a', 'P-256'), first.generate('b', 'AES-256'), first.generate('c', 'P-384')]);
      const [mac, before] = [await first.mac('b', message), await first.list()];
      await first.destroy('c');
      await first.close();

      const second = await open();
      expect(byId(await second.list())).toEqual(byId(before.filter(each => each.id !== 'c')));
      expect(await second.mac('b', message)).toEqual(mac);
      expect(verifies('sha256', await second.publicKey('a'), await second.sign('a', message))).toBe(true);
      await expect(second.sign('c', message)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
      await expect(second.destroy('c')).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
      await expect(second.generate('a', 'P-256')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
    });

    it('makes one key of one id, however many ask (I5)', async () => {
      covers('I5');
      const keystore = await open();
      const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => keystore.generate('root/1', 'P-256')));
      expect(outcomes.filter(each => each.status === 'fulfilled')).toHaveLength(1);
      for (const each of outcomes) if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'KEY_EXISTS' });
      await expect(keystore.generate('root/1', 'AES-256')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
      expect(await keystore.list()).toHaveLength(1);
    });

    it('refuses what is no key id', async () => {
      const keystore = await open();
      for (const id of ['', '/root', 'a b', 'a\n', 'ä', 'x'.repeat(201)]) {
        await expect(keystore.generate(id, 'P-256'), id).rejects.toMatchObject({ code: 'BAD_REQUEST' });
      }
      expect((await keystore.generate('x'.repeat(200), 'P-256')).id).toHaveLength(200);
    });

    it('refuses a key for what it is not made for', async () => {
      const keystore = await open();
      await Promise.all([keystore.generate('p256', 'P-256'), keystore.generate('p384', 'P-384'), keystore.generate('aes', 'AES-256')]);
      const kdf = { salt: new Uint8Array(1), info: new Uint8Array(1) };
      const point = pointOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
      const misuses = [
        () => keystore.sign('aes', message),
        () => keystore.signProven('aes', message, { curve: 'P-256', publicKey: message, message, signature: message }),
        () => keystore.publicKey('aes'),
        () => keystore.derive('aes', point, kdf, 'new'),
        () => keystore.derive('p384', point, kdf, 'new'),
        () => keystore.mac('p256', message),
        () => keystore.seal('p256', kdf, new Uint8Array(12), message, message),
        () => keystore.seal('aes', kdf, new Uint8Array(11), message, message),
        () => keystore.generateWrapped('p256', 'context'),
        () => keystore.signWrapped('p256', 'context', new Uint8Array(152), sha256(message)),
        () => keystore.rewrap('p256', 'context', new Uint8Array(152), 'aes'),
        () => keystore.rewrap('aes', 'context', new Uint8Array(152), 'p256'),
      ];
      for (const misuse of misuses) await expect(misuse(), misuse.toString()).rejects.toMatchObject({ code: 'KEY_REFUSED' });
      expect(await keystore.list()).toHaveLength(3);
    });

    it('answers nothing once closed', async () => {
      const keystore = await open();
      await keystore.generate('k', 'P-256');
      expect(await keystore.health()).toMatchObject({ ok: true });
      await keystore.close();
      await keystore.close();
      for (const call of [() => keystore.sign('k', message), () => keystore.list(), () => keystore.generate('n', 'P-256')]) {
        await expect(call()).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
      }
      expect(await keystore.health()).toMatchObject({ ok: false });
    });
  });

  describe(`keys agreed in the ${driver} keystore`, () => {
    it('agrees AES_NuLink3 with a programmer over ECDH and HKDF, and it never leaves (R30, R31, R34)', async () => {
      covers('R30', 'R31', 'R34');
      const keystore = await open();
      await keystore.generate('ephemeral', 'P-256');
      const programmer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const kdf = { salt: utf8('nonces'), info: utf8('NuSEC AES_NuLink3 v1') };
      const info = await keystore.derive('ephemeral', pointOf(programmer.publicKey), kdf, 'programmer-kek/1');
      expect(Object.keys(info).sort()).toEqual(['algorithm', 'createdAt', 'id']);

      const server = createPublicKey({ key: Buffer.from(await keystore.publicKey('ephemeral')), format: 'der', type: 'spki' });
      const shared = diffieHellman({ privateKey: programmer.privateKey, publicKey: server });
      const key = new Uint8Array(hkdfSync('sha256', shared, kdf.salt, kdf.info, 32));
      expect(await keystore.mac('programmer-kek/1', message)).toEqual(new Uint8Array(createHmac('sha256', key).update(message).digest()));
      await expectSealsUnder(keystore, 'programmer-kek/1', key);
      await expect(keystore.generateWrapped('programmer-kek/1', 'context')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
      await expect(keystore.derive('ephemeral', pointOf(programmer.publicKey), kdf, 'programmer-kek/1')).rejects.toMatchObject({
        code: 'KEY_EXISTS',
      });
    });

    it('agrees as HKDF says with salts of every length', async () => {
      const keystore = await open();
      const { publicKey } = await keystore.generate('ephemeral', 'P-256');
      const peer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const shared = diffieHellman({ privateKey: peer.privateKey, publicKey: importSpki(publicKey as Uint8Array) });
      for (const length of [0, 1, 63, 64, 65, 200]) {
        const kdf = { salt: new Uint8Array(length).fill(length), info: new Uint8Array(length).fill(7) };
        await keystore.derive('ephemeral', pointOf(peer.publicKey), kdf, `agreed/${length}`);
        const key = hkdf32(shared, kdf.salt, kdf.info);
        expect(toHex(await keystore.mac(`agreed/${length}`, message))).toBe(createHmac('sha256', key).update(message).digest('hex'));
      }
    });

    it.each([
      ['a point off the curve', fromHex(`04${'11'.repeat(64)}`)],
      ['a compressed point', fromHex(`02${'11'.repeat(32)}`)],
      ['the point at infinity', fromHex('00')],
      ['an empty key', new Uint8Array(0)],
    ])('refuses %s from the peer', async (_, point) => {
      const keystore = await open();
      await keystore.generate('ephemeral', 'P-256');
      const kdf = { salt: new Uint8Array(0), info: new Uint8Array(0) };
      await expect(keystore.derive('ephemeral', point, kdf, 'kek')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
      expect(await keystore.list()).toHaveLength(1);
    });

    it('seals the same under a key and another under another, and refuses the salt of wrapping keys', async () => {
      const keystore = await open();
      await Promise.all([keystore.generate('a', 'AES-256'), keystore.generate('b', 'AES-256')]);
      const seal = (id: string, salt: Uint8Array) => keystore.seal(id, { salt, info: message }, new Uint8Array(12), message, message);
      expect(await seal('a', message)).toEqual(await seal('a', message));
      expect(await seal('a', message)).not.toEqual(await seal('b', message));
      await expect(seal('a', utf8('NuSEC custody v1'.padEnd(64, '.')))).rejects.toMatchObject({ code: 'KEY_REFUSED' });
    });
  });

  describe(`boot keys wrapped by the ${driver} keystore`, () => {
    it('generates, wraps out and signs, under its own context only', async () => {
      const keystore = await open();
      await Promise.all([keystore.generate('kek/1', 'AES-256'), keystore.generate('kek/2', 'AES-256')]);
      const { publicKey, wrapped } = await keystore.generateWrapped('kek/1', 'boot/a');
      expect(publicKey).toHaveLength(91);
      expect(verifies('sha256', publicKey, await keystore.signWrapped('kek/1', 'boot/a', wrapped, sha256(message)))).toBe(true);
      const changed = wrapped.slice();
      changed[20]! ^= 1;
      const refused = { code: 'KEY_REFUSED' };
      await expect(keystore.signWrapped('kek/1', 'boot/b', wrapped, sha256(message))).rejects.toMatchObject(refused);
      await expect(keystore.signWrapped('kek/2', 'boot/a', wrapped, sha256(message))).rejects.toMatchObject(refused);
      await expect(keystore.signWrapped('kek/1', 'boot/a', changed, sha256(message))).rejects.toMatchObject(refused);
      for (const length of [0, 8, 16, wrapped.length - 8])
        await expect(keystore.signWrapped('kek/1', 'boot/a', wrapped.subarray(0, length), sha256(message))).rejects.toMatchObject(refused);
      await expect(keystore.signWrapped('kek/1', 'boot/a', wrapped, message)).rejects.toMatchObject(refused);
      expect(await keystore.list()).toHaveLength(2);
    });

    it('re-wraps under a new key-encryption key; the old one is not needed any more', async () => {
      const keystore = await open();
      await Promise.all([keystore.generate('kek/1', 'AES-256'), keystore.generate('kek/2', 'AES-256')]);
      const { publicKey, wrapped } = await keystore.generateWrapped('kek/1', 'boot/a');
      const rewrapped = await keystore.rewrap('kek/1', 'boot/a', wrapped, 'kek/2');
      await expect(keystore.rewrap('kek/1', 'boot/b', wrapped, 'kek/2')).rejects.toMatchObject({ code: 'KEY_REFUSED' });
      await keystore.destroy('kek/1');
      expect(verifies('sha256', publicKey, await keystore.signWrapped('kek/2', 'boot/a', rewrapped, sha256(message)))).toBe(true);
    });
  });
}

const message = utf8('firmware hash');

const byId = <Each extends { id: string }>(list: readonly Each[]): readonly Each[] => list.toSorted((a, b) => (a.id < b.id ? -1 : 1));

const importSpki = (spki: Uint8Array): KeyObject => createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });

export function verifies(hash: string, spki: Uint8Array, signature: Uint8Array, signed: Uint8Array = message): boolean {
  return verify(hash, signed, importSpki(spki), signature);
}

export const pointOf = (key: KeyObject): Uint8Array => key.export({ format: 'der', type: 'spki' }).subarray(-65);

/** HKDF written out with HMAC (RFC 5869 §2.2, §2.3), so that the driver's own HKDF call is not its judge. */
export function hkdf32(key: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array {
  const extracted = createHmac('sha256', salt).update(key).digest();
  return createHmac('sha256', extracted).update(info).update(Uint8Array.of(1)).digest();
}

export async function expectSealsUnder(keystore: Keystore, id: string, key: Uint8Array): Promise<void> {
  const [salt, info, iv, aad] = [utf8('package id'), utf8('NuSEC NJP-1 CEK v1'), new Uint8Array(12).fill(7), utf8('head')];
  const sealed = await keystore.seal(id, { salt, info }, iv, aad, message);
  expect(sealed).toHaveLength(message.length + 16);
  const decipher = createDecipheriv('aes-256-gcm', hkdf32(key, salt, info), iv).setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  expect(Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()])).toEqual(Buffer.from(message));
}
