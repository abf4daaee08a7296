import { describe, expect, it } from 'vitest';
import { type BootPolicy, verifyImage } from '../../src/ota/verify.ts';
import { covers } from '../support/covers.ts';
import { encP256, image, keyhash, policyFor, readJson, vector } from './vectors.ts';

const say = (bytes: Uint8Array, policy: BootPolicy): string => {
  const verdict = verifyImage(bytes, policy);
  return verdict.ok ? 'accept' : `reject: ${verdict.reason}`;
};

describe('verifyImage agrees with MCUboot 2.4.0 (RULE-15, R112)', () => {
  const verdicts: Record<string, Record<string, string>> = readJson('images/bootloader-verdicts.json');
  const cases = Object.entries(verdicts).flatMap(([name, byConfiguration]) =>
    Object.entries(byConfiguration).map(([configuration, verdict]) => ({ name, configuration, verdict })),
  );
  it.each(cases)('$name, $configuration: $verdict', ({ name, configuration, verdict }) => {
    covers('RULE-15', 'R112');
    expect(say(image(name), policyFor(configuration, name))).toBe(verdict);
  });

  const mutated: Record<string, string> = readJson('mutated/verdicts.json');
  it.each(Object.entries(mutated))('mutated %s: %s', (name, verdict) => {
    covers('RULE-15', 'R112');
    const said = say(vector(`mutated/${name}.bin`), { ...keyhash, securityCounter: 5, decryption: encP256 });
    if (verdict === 'reject: rejected') expect(said).toMatch(/^reject: /);
    else expect(said).toBe(verdict);
  });
});

describe('what an image needs and no bootloader of ours can', () => {
  it.each([
    ['20-p384.bin', 'unsupported-sha384'],
    ['21-rsa2048.bin', 'unsupported-rsa'],
    ['14-ed25519-x25519-hmac512.bin', 'unsupported-hmac512'],
  ])('%s is named: %s', (name, unsupported) => {
    expect(verifyImage(image(name), { ...keyhash, decryption: encP256 })).toMatchObject({ ok: false, unsupported });
  });

  it('does not hide a fault of an image that we can judge', () => {
    const verdict = verifyImage(image('25-p256-otherkey.bin'), keyhash);
    expect(verdict).toEqual({ ok: false, reason: 'unknown-signing-key' });
  });
});
