import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { decodeAs } from '../../../src/cbor/schema.ts';
import { decodeResponse } from '../../../src/production/devauth/body.ts';
import { commands } from '../../../src/production/devauth/commands.ts';
import { devAuthCodes } from '../../../src/production/devauth/error.ts';
import { decodeMessage } from '../../../src/production/devauth/header.ts';
import { decodeVendorMessage } from '../../../src/production/devauth/vendor.ts';
import { otpKinds, otpMap } from '../../../src/production/otpMap.ts';
import { covers } from '../../support/covers.ts';
import { names, samples } from './samples.ts';

const page = readFileSync(new URL('../../../docs/devauth.md', import.meta.url), 'utf8');
const wireName = (name: string): string => name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase();

describe('the DevAuth page', () => {
  const examples = [...page.matchAll(/^ff[0-9a-f]{20,}$/gm)].map(([hex]) => decodeMessage(decodeVendorMessage(fromHex(hex)).message));

  it('has examples that are what it says (R98, RULE-21)', () => {
    covers('R98', 'RULE-21');
    const [question, answer, refusal] = examples;
    expect(decodeAs(commands.hello.request, question!.body)).toEqual(samples.hello.request);
    expect(decodeResponse(commands.hello.response, answer!.body)).toEqual(samples.hello.response);
    expect(() => decodeResponse(commands.keygen.response, refusal!.body)).toThrow(expect.objectContaining({ reason: 'bad-state' }));
    expect(examples.map(({ op, sequence, command }) => [op, sequence, command])).toEqual([
      [0, 0, 0],
      [1, 0, 0],
      [3, 1, 1],
    ]);
  });

  it('names every command, every code and every slot with its number (R98)', () => {
    covers('R98');
    for (const name of names)
      expect(page).toContain(`| ${commands[name].id} | ${wireName(name)} ${commands[name].op === 0 ? 'read' : 'write'} |`);
    for (const [name, code] of Object.entries(devAuthCodes)) expect(page).toContain(`| ${code} | ${name} |`);
    for (const { slot, kind } of Object.values(otpMap).slice(2))
      expect(page).toMatch(new RegExp(`^\\| ${slot} \\| .* \\| ${otpKinds[kind]} \\|$`, 'm'));
  });
});
