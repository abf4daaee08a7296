import { expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { configImage, describeConfig, parseConfigWords } from '../../src/production/configWords.ts';

const meaningsOf = (words: readonly number[]) => Object.fromEntries(describeConfig(words).map(({ name, value }) => [name, value]));

it('configuration words are read as four words of hex, and nothing else', () => {
  expect(parseConfigWords('ffffff7f,0xFFFFFFFF,00000000,5aa5ffff')).toEqual([0xffff_ff7f, 0xffff_ffff, 0, 0x5aa5_ffff]);
  for (const text of [
    '',
    'ffffff7f',
    'ffffff7f,ffffffff,ffffffff',
    'ffffff7,ffffffff,ffffffff,ffffffff',
    'g0000000,00000000,00000000,00000000',
  ])
    expect(parseConfigWords(text)).toBeUndefined();
});

it('lie in flash least significant byte first', () => {
  expect(toHex(configImage([0x0102_0304, 0, 0xffff_ffff, 0x5aa5_ffff]))).toBe('0403020100000000ffffffffffffa55a');
});

it('say what a chip does at a reset', () => {
  const erased = [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff];
  expect(meaningsOf(erased)).toEqual({ CWDTEN: 7, CBOV: 7, CBORST: 1, CBODEN: 1, MERASE: 1, CBS: 1, MBS: 1, TAMPER: 0xffff });
  expect(meaningsOf([0x7fff_ffff, 0, 0, 0x5aa5_ffff])).toMatchObject({ CWDTEN: 3, TAMPER: 0x5aa5 });
  expect(meaningsOf([0xffff_ffff & ~(1 << 3) & ~(1 << 7) & ~(1 << 5) & ~(1 << 13), 0, 0, 0])).toMatchObject({
    CWDTEN: 6,
    CBS: 0,
    MBS: 0,
    MERASE: 0,
  });
  expect(meaningsOf([0xff5f_ffff, 0, 0, 0]).CBOV).toBe(2);
  expect(describeConfig([0x7fff_ffff, 0, 0, 0])[0]?.meaning).toMatch(/watchdog runs/);
});
