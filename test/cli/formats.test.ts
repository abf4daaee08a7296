import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { csv, yaml } from '../../src/cli/formats.ts';

describe('the forms of an answer', () => {
  it('YAML says what JSON says', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        expect(parse(yaml(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('CSV has the columns of all rows, quotes what it must, and runs nothing in a spreadsheet', () => {
    expect(
      csv([
        { uid: 'a', count: -1 },
        { uid: '=1+1', note: 'a "b", c' },
      ]),
    ).toBe(`uid,count,note\r\na,-1,\r\n'=1+1,,"a ""b"", c"\r\n`);
    expect(csv([])).toBe('\r\n');
    expect(csv({ name: 'alice', roles: ['auditor'] })).toBe('name,roles\r\nalice,"[""auditor""]"\r\n');
  });
});
