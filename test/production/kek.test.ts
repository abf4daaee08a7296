import { createECDH, createHmac, hkdfSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { type KekAgreement, kekConfirmation, kekKdf } from '../../src/production/kek.ts';
import { covers } from '../support/covers.ts';
import { fill, progUid } from './samples.ts';

const programmer = createECDH('prime256v1');
const cloud = createECDH('prime256v1');
const pointP = new Uint8Array(programmer.generateKeys());
const pointC = new Uint8Array(cloud.generateKeys());
const agreement: KekAgreement = { nonceP: fill(1), nonceC: fill(2), pointP, pointC, progUid, certificateSha256: fill(3, 32), epoch: 7 };

function macOf(side: 'P' | 'C', z: Uint8Array, changes: Partial<KekAgreement> = {}): string {
  const { salt, info } = kekKdf({ ...agreement, ...changes });
  const key = new Uint8Array(hkdfSync('sha256', z, salt, info, 32));
  return createHmac('sha256', key)
    .update(kekConfirmation(side, { ...agreement, ...changes }))
    .digest('hex');
}

describe('AES_NuLink3', () => {
  it('comes out the same on both sides, each with its own confirmation (R33, R34)', () => {
    covers('R33', 'R34');
    const [zP, zC] = [programmer.computeSecret(pointC), cloud.computeSecret(pointP)];
    expect(macOf('P', zP)).toBe(macOf('P', zC));
    expect(macOf('C', zP)).toBe(macOf('C', zC));
    expect(macOf('P', zP)).not.toBe(macOf('C', zP));
  });

  it('is bound to programmer, certificate, epoch, nonces and both keys', () => {
    const z = programmer.computeSecret(pointC);
    const changes: Partial<KekAgreement>[] = [
      { nonceP: fill(9) },
      { nonceC: fill(9) },
      { pointP: pointC },
      { pointC: pointP },
      { progUid: fill(9) },
      { certificateSha256: fill(9, 32) },
      { epoch: 8 },
    ];
    for (const change of changes) expect(macOf('P', z, change)).not.toBe(macOf('P', z));
  });

  it('has the parameters of its page, and no part of another length', () => {
    const { salt, info } = kekKdf(agreement);
    expect(toHex(salt)).toBe('01'.repeat(16) + '02'.repeat(16));
    expect(toHex(info)).toBe(`${Buffer.from('NuSEC AES_NuLink3 v1').toString('hex')}00${'a1'.repeat(16)}${'03'.repeat(32)}00000007`);
    for (const name of ['nonceP', 'nonceC', 'pointP', 'pointC', 'progUid', 'certificateSha256'] as const) {
      expect(() => kekKdf({ ...agreement, [name]: fill(1, 3) })).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
    }
  });
});
