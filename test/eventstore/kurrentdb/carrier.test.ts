import fc from 'fast-check';
import { expect, it } from 'vitest';
import { canonicalJson } from '../../../src/eventstore/canonical.ts';
import { type Carrier, decodeCarrier, encodeCarrier } from '../../../src/eventstore/kurrentdb/carrier.ts';
import type { Json } from '../../../src/eventstore/port.ts';

const decoded = (carrier: Carrier): Carrier => {
  const text = new TextDecoder().decode(encodeCarrier(carrier));
  return decodeCarrier(JSON.parse(text), text, 'here');
};

it('a commit is read as it was written: each body the same text, whatever is in it', () => {
  const body = fc.array(fc.jsonValue(), { minLength: 1, maxLength: 3 }).map(value => canonicalJson(value as Json));
  const append = fc.record({ id: fc.string(), body });
  const appends = fc.array(fc.tuple(fc.string(), fc.array(append, { minLength: 1, maxLength: 3 })), { maxLength: 4 });
  fc.assert(
    fc.property(appends, given => {
      const carrier = { first: 7, appends: given.map(([stream, events]) => ({ stream, events })) };
      const flat = (each: Carrier) => each.appends.flatMap(({ stream, events }) => events.map(event => ({ stream, ...event })));
      expect(flat(decoded(carrier))).toEqual(flat(carrier));
    }),
  );
});

it('a body with names that are numbers keeps its text, and so do the ones behind it', () => {
  const bodies = ['["A",{"10":1,"9":2,"a":3}]', '["B",{"events":[{"stream":"s"}]}]', '[0.1,1e+30]'];
  const carrier = { first: 0, appends: [{ stream: 's', events: bodies.map((body, i) => ({ id: `${i}`, body })) }] };
  expect(decoded(carrier).appends).toEqual(carrier.appends);
});
