import { expect, it } from 'vitest';

it('runs on Node 24, whatever the system brings', () => {
  expect(process.version).toMatch(/^v24\./);
});
