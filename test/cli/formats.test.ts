import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { csv, yaml } from '../../src/cli/formats.ts';
import { fitLine } from '../../src/cli/output.ts';

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

it('a line that is cut to the width of a terminal ends its style there', () => {
  expect(fitLine('RELEASE  LINE', 20)).toBe('RELEASE  LINE');
  expect(fitLine('\u001b[1mRELEASE  LINE\u001b[22m', 10)).toBe('\u001b[1mRELEASE  …\u001b[0m');
  expect(fitLine('a1b2c3d4e5f6  meter', 10)).toBe('a1b2c3d4e…');
});
