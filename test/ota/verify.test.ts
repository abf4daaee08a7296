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
