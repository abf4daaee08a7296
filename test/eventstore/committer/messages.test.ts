import fc from 'fast-check';
import { expect, it } from 'vitest';
import { askedText, asksIn } from '../../../src/eventstore/committer/messages.ts';
import { encodeAppend } from '../../../src/eventstore/envelope.ts';
import type { ExpectedRevision } from '../../../src/eventstore/port.ts';
import type { CommitRequest } from '../../../src/eventstore/writer.ts';
import { event } from '../support.ts';

/** What one process asks another to store arrives as it was asked, whatever the texts have in them. */

const expected = fc.oneof(fc.constantFrom<ExpectedRevision>('any', 'none', 'exists'), fc.nat());
const name = fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map(code => String.fromCharCode(code)), minLength: 1, maxLength: 256 });
/** Line breaks, halves of surrogate pairs and all. */
const text = fc.string({ unit: 'binary' });
const append = fc
  .record({ stream: name, expected, details: fc.array(text, { minLength: 1, maxLength: 4 }) })
  .map(({ stream, expected, details }) => ({
    stream,
    expected,
    events: encodeAppend(
      stream,
      details.map(detail => ({ ...event('Said'), data: { [detail]: detail } })),
    ),
  }));
const others = fc.record(
  {
    basis: fc.array(fc.record({ stream: name, revision: fc.integer({ min: -1 }) })),
    epoch: fc.nat(),
    nextEpoch: fc.nat(),
    blobs: fc.array(fc.record({ sha256: fc.constant('ab'.repeat(32)), bytes: fc.uint8Array() })),
    droppedBlobs: fc.array(fc.constant('cd'.repeat(32))),
  },
  { requiredKeys: [] },
);
const request: fc.Arbitrary<CommitRequest> = fc
  .tuple(fc.array(append, { maxLength: 3 }), others)
  .map(([appends, { basis = [], ...more }]) => ({ appends, basis, ...more }));

const plainBlobs = ({ blobs, ...rest }: CommitRequest) => ({
  ...rest,
  ...(blobs && { blobs: blobs.map(({ sha256, bytes }) => ({ sha256, bytes: [...bytes] })) }),
});

it('a question is read as it was asked, in its order', () => {
  fc.assert(
    fc.property(fc.array(request, { maxLength: 5 }), requests => {
      const content = Buffer.from(requests.map((each, i) => askedText(i + 1, each)).join(''));
      const asks = asksIn(content, 7);
      expect(asks.map(({ number }) => number)).toEqual(requests.map((_, i) => i + 1));
      expect(asks.map(({ request: each }) => plainBlobs(each))).toEqual(requests.map(each => plainBlobs({ ...each, turn: 7 })));
    }),
  );
});
