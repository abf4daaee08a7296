import { describe, expect, it } from 'vitest';
import { fittingRows, rowFilter } from '../../src/cli/rowFilter.ts';
import { codeOf } from '../pki/support.ts';

const rows = [
  { name: 'mes', status: 'ACTIVE' },
  { name: 'erp', status: 'HELD' },
];
const description = {
  paths: {
    '/v1/things/{id}/parts': {
      get: {
        responses: {
          '200': {
            content: { 'application/json': { schema: { properties: { parts: { items: { $ref: '#/components/schemas/Part' } } } } } },
          },
        },
      },
    },
  },
  components: { schemas: { Part: { properties: { name: {}, status: {}, verdict: {} } } } },
};
const place = { path: '/v1/things/a1/parts', key: 'parts', describe: async () => description };
const shown = (...texts: readonly string[]) =>
  fittingRows(
    rows,
    texts.reduce<ReturnType<typeof rowFilter>>((before, text) => rowFilter(text, before), []),
    place,
  );

describe('--filter', () => {
  it('leaves the rows that fit all of them', async () => {
    expect(await shown('status=ACTIVE')).toEqual([rows[0]]);
    expect(await shown('status!=ACTIVE', 'name~r')).toEqual([rows[1]]);
  });

  it('knows a field that no row has at the moment, and refuses one that no row ever has', async () => {
    expect(await shown('verdict=DISCREPANT')).toEqual([]);
    await expect(shown('stauts=ACTIVE')).rejects.toThrow('there is no field stauts in this list: it has name, status, verdict');
    expect(await codeOf(() => fittingRows([], rowFilter('stauts!=X'), place))).toBe('BAD_REQUEST');
  });
});
