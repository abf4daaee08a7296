import { expect, it } from 'vitest';
import { requireKindOf } from '../../src/cli/proofFiles.ts';
import { attestationProofFormat } from '../../src/evidence/attestationProof.ts';
import { evidenceFormat } from '../../src/evidence/format.ts';
import { exportFormat } from '../../src/evidence/logExport.ts';

/** Two commands verify three kinds of files. */

const begins = (format: string): string => `{"format":"${format}","uid":"00"}`;

it.each([
  ['nusec verify', attestationProofFormat, 'nusec evidence verify'],
  ['nusec evidence verify', evidenceFormat, 'nusec verify'],
  ['nusec evidence verify', exportFormat, 'nusec verify'],
] as const)('%s names the command for a file of %s', (asked, format, other) => {
  const message = expect.stringContaining(`: ${other} a.json --trust root.pem`);
  expect(() => requireKindOf(asked, 'a.json', begins(format))).toThrow(expect.objectContaining({ code: 'BAD_REQUEST', message }));
});

it('and leaves its own, and whatever has no format, to be judged by what is in it', () => {
  for (const text of [begins(evidenceFormat), begins(exportFormat), begins('other/1'), 'not JSON'])
    expect(() => requireKindOf('nusec verify', 'a.json', text)).not.toThrow();
  expect(() => requireKindOf('nusec evidence verify', 'a.json', begins(attestationProofFormat))).not.toThrow();
});
