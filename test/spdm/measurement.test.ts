import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, fromHex } from '../../src/bytes.ts';
import { decodeCertificateChain, encodeCertificateChain } from '../../src/spdm/certChain.ts';
import { decodeMeasurementRecord, encodeMeasurementBlock, judgeMeasurements, type Measurement } from '../../src/spdm/measurement.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';
import { bundleCertificates } from './recording.ts';

const [sha256] = hashAlgorithms;
const malformed = expect.objectContaining({ code: 'SPDM_MALFORMED' });

describe('measurement blocks', () => {
  const record = fc
    .uniqueArray(fc.integer({ min: 1, max: 0xfe }), { maxLength: 6 })
    .chain(indices =>
      fc.tuple(
        ...indices
          .sort((a, b) => a - b)
          .map(index =>
            fc.record({ index: fc.constant(index), type: fc.nat(0x7f), raw: fc.boolean(), value: fc.uint8Array({ maxLength: 70 }) }),
          ),
      ),
    );

  it('survive encoding and decoding', () => {
    fc.assert(
      fc.property(record, blocks => {
        expect(decodeMeasurementRecord(concat(...blocks.map(encodeMeasurementBlock)), blocks.length)).toEqual(blocks);
      }),
    );
  });

  it('are refused when indices repeat, fall, are 0 or 255, or sizes do not fit', () => {
    const block = '0101040000010042';
    expect(decodeMeasurementRecord(fromHex(block), 1)).toEqual([{ index: 1, type: 0, raw: false, value: Uint8Array.of(0x42) }]);
    const bad = [
      `${block}${block}`,
      `02${block.slice(2)}${block}`,
      `00${block.slice(2)}`,
      `ff${block.slice(2)}`,
      '0101050000010042',
      '0102040000010042',
      `${block}00`,
      block.slice(2),
    ];
    for (const hex of bad) expect(() => decodeMeasurementRecord(fromHex(hex), hex.length > 18 ? 2 : 1)).toThrow(malformed);
  });
});

describe('judging measurements', () => {
  const value = (fill: number) => new Uint8Array(32).fill(fill);
  const measured: Measurement[] = [
    { index: 1, type: 1, raw: false, value: value(1) },
    { index: 2, type: 7, raw: true, value: value(2) },
  ];

  it('passes when every reference is met, and says which index differs and how', () => {
    expect(judgeMeasurements(measured, [])).toEqual({ verdict: 'pass' });
    expect(judgeMeasurements(measured, [{ index: 1, type: 1, value: value(1) }])).toEqual({ verdict: 'pass' });
    const references = [
      { index: 1, type: 0, value: value(1) },
      { index: 2, value: value(3) },
      { index: 3, value: value(3) },
    ];
    expect(judgeMeasurements(measured, references)).toEqual({
      verdict: 'fail',
      differences: [
        { index: 1, difference: 'type' },
        { index: 2, difference: 'value' },
        { index: 3, difference: 'missing' },
      ],
    });
  });

  it('takes several references of one index as alternatives, as during a rollout', () => {
    const either = [
      { index: 2, value: value(9) },
      { index: 2, value: value(2) },
    ];
    expect(judgeMeasurements(measured, either)).toEqual({ verdict: 'pass' });
  });
});

describe('the certificate chain structure', () => {
  const certificates = bundleCertificates('ecp256', 'certchain');

  it('survives encoding and decoding, with a 16-bit length before 1.4 and a 32-bit one since', () => {
    for (const version of [0x12, 0x14])
      expect(decodeCertificateChain(version, sha256!, encodeCertificateChain(version, sha256!, certificates)).certificates).toEqual(
        certificates,
      );
  });

  it('is refused cut, lengthened, empty, too long, or with something else than certificates', () => {
    const chain = encodeCertificateChain(0x12, sha256!, certificates);
    const relength = (bytes: Uint8Array) => concat(Uint8Array.of(bytes.length & 0xff, bytes.length >> 8), bytes.subarray(2));
    const bad = [
      chain.slice(0, -1),
      concat(chain, Uint8Array.of(0)),
      relength(chain.slice(0, -1)),
      relength(concat(chain, fromHex('3100'))),
      relength(concat(chain, fromHex('3003aabbcc'))),
      encodeCertificateChain(0x12, sha256!, []),
      encodeCertificateChain(0x12, sha256!, Array(9).fill(certificates[0])),
      encodeCertificateChain(0x14, sha256!, [new Uint8Array(20_000)]),
      new Uint8Array(3),
    ];
    for (const bytes of bad) expect(() => decodeCertificateChain(0x12, sha256!, bytes)).toThrow(malformed);
  });
});
