import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeEvent, encodeBody } from '../../src/eventstore/envelope.ts';
import { rowCheck, rowTextCheck, splitRowText } from '../../src/eventstore/rowCheck.ts';
import { codeOf } from '../pki/support.ts';

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('"', '\\', '",null,null,{', 'a","b', 'é', '\u0000'));
const optional = fc.option(text, { nil: undefined });
const event = fc.record({
  type: text,
  v: fc.integer({ min: 1, max: 2 ** 31 }),
  at: text,
  by: text,
  cause: optional,
  corr: optional,
  data: fc.dictionary(
    fc.string(),
    fc.jsonValue().filter(value => !JSON.stringify(value).includes('-0')),
  ),
});

describe('the body of an event', () => {
  it('is read as it was stored, whatever its texts contain', () => {
    fc.assert(
      fc.property(event, ({ cause, corr, ...rest }) => {
        const whole = { ...rest, ...(cause !== undefined && { cause }), ...(corr !== undefined && { corr }) };
        const body = encodeBody(whole as unknown as Parameters<typeof encodeBody>[0]);
        const expected = JSON.parse(JSON.stringify(whole)) as object;
        expect(decodeEvent(7, 's', 3, 'i', 'h', body)).toEqual({ ...expected, stream: 's', revision: 3, id: 'i', position: 7, hash: 'h' });
      }),
      { examples: [[{ type: 'a"b', v: 1, at: '', by: '",null,null,{', cause: undefined, corr: undefined, data: {} }]] },
    );
  });

  it('that is cut or no event is damage', async () => {
    const body = encodeBody({ type: 'E', at: 'a', by: 'b', data: { n: 1 } });
    for (let end = 0; end < body.length; end++)
      expect(await codeOf(async () => decodeEvent(1, 's', 0, 'i', 'h', body.slice(0, end))), body.slice(0, end)).toBe('STORE_DAMAGED');
  });
});

describe('the texts of a row', () => {
  it('are found in the one text that they are read as, and have the same checksum', () => {
    const word = fc.stringMatching(/^[!-~]{1,40}$/);
    const numbers = fc.tuple(fc.nat(), fc.nat(), fc.nat());
    fc.assert(
      fc.property(word, word, fc.stringMatching(/^[0-9a-f]{64}$/), text, numbers, (stream, id, hash, body, [position, revision, prev]) => {
        const whole = `${stream} ${id} ${hash}${body}`;
        expect(splitRowText(whole)).toEqual({ stream, id, hash, body });
        expect(rowTextCheck(position, revision, prev, whole)).toBe(rowCheck(position, stream, revision, prev, id, hash, body));
      }),
    );
  });
});
