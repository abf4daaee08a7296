import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { traceabilityPage } from '../scripts/traceability.ts';

it('docs/traceability.md says what the test titles say; `node scripts/traceability.ts` writes it', () => {
  const page = readFileSync(new URL('../docs/traceability.md', import.meta.url), 'utf8');
  expect(page).toBe(traceabilityPage());
});
