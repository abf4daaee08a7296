import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

/** What every requester of the product gives the library beside what it wants to know. */

const root = join(import.meta.dirname, '../..');
const sources = ['src', 'gateway-device']
  .flatMap(folder => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map(file => join(folder, file)))
  .filter(file => file.endsWith('.ts') && !file.startsWith('src/spdm/') && !file.startsWith('src/cli/spdm/'));
/** Each call with what stands before it in its function. */
const callers = sources.flatMap(file => {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/\b(?:runAttestation|runSessionSetup)\(/g)].map(({ index }) => {
    const end = text.indexOf('\n}', index);
    return { file, text: text.slice(text.lastIndexOf('\n}', index) + 1, end) };
  });
});

it('says which chain is ours and waits for who is not ready, whoever asks a device', () => {
  expect(callers.length).toBeGreaterThan(7);
  // Whoever asks over a wire takes both from one place: link/wiredIdentity.ts.
  const wired = 'attestationOffer(|sessionOffer(';
  for (const given of [`isOurs|${wired}`, 'wait: patience(', `Offer()|offerUnder(|${wired}`])
    expect(callers.filter(({ text }) => !given.split('|').some(one => text.includes(one))).map(({ file }) => [given, file])).toEqual([]);
});

it('says which chain is ours in each offer over a wire', () => {
  const text = readFileSync(join(root, 'gateway-device/link/wiredIdentity.ts'), 'utf8');
  for (const offer of ['attestationOffer', 'sessionOffer']) {
    const begin = text.indexOf(`const ${offer} = `);
    expect(text.slice(begin, text.indexOf('\n});', begin))).toContain('isOurs: endsIn(certificate)');
  }
});
