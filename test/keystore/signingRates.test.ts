import { describe, expect, it } from 'vitest';
import { utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { defaultSigningLimits, type SigningAlarm, watchSigningRates } from '../../src/keystore/signingRates.ts';
import { covers } from '../support/covers.ts';
import { newKeystore } from './temporary.ts';

const message = utf8('message');

async function watched(limits: Record<string, number>) {
  const alarms: SigningAlarm[] = [];
  let now = 0;
  const keystore = watchSigningRates(
    await newKeystore(),
    limits,
    alarm => alarms.push(alarm),
    () => now,
  );
  const sign = async (id: string, times: number) => {
    for (let index = 0; index < times; index += 1) await keystore.sign(id, message);
  };
  return { keystore, alarms, sign, pass: (ms: number) => (now += ms) };
}

describe('signing rate of each key (T17)', () => {
  it('raises one alarm a minute for a key that signs too often, and still signs', async () => {
    covers('T17');
    const { keystore, alarms, sign, pass } = await watched({ 'ica/': 5, '': 1000 });
    await Promise.all([keystore.generate('ica/1', 'P-256'), keystore.generate('ica/2', 'P-256'), keystore.generate('other', 'P-256')]);
    await sign('ica/1', 5);
    await sign('ica/2', 5);
    await sign('other', 20);
    expect(alarms).toEqual([]);
    await sign('ica/1', 20);
    expect(alarms).toEqual([{ keyId: 'ica/1', signatures: 6, limitPerMinute: 5 }]);
    pass(60_000);
    await sign('ica/1', 5);
    expect(alarms).toHaveLength(1);
    await sign('ica/1', 1);
    expect(alarms).toHaveLength(2);
  });

  it('counts each boot key, and all of a key-encryption key together', async () => {
    const { keystore, alarms } = await watched({ 'boot/': 3, 'kek/': 6, '': 1000 });
    await keystore.generate('kek/boot/1', 'AES-256');
    const sign = async (context: string, times: number) => {
      const { wrapped } = await keystore.generateWrapped('kek/boot/1', context);
      for (let index = 0; index < times; index += 1) await keystore.signWrapped('kek/boot/1', context, wrapped, sha256(message));
    };
    await sign('boot/a', 4);
    expect(alarms.map(alarm => alarm.keyId)).toEqual(['boot/a']);
    await sign('boot/b', 3);
    expect(alarms.map(alarm => alarm.keyId)).toEqual(['boot/a', 'kek/boot/1']);
  });

  it('has a limit for every key', () => {
    expect(Object.keys(defaultSigningLimits)).toContain('');
  });
});
