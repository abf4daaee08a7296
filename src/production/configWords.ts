/** User configuration words CONFIG0 to CONFIG3 of Nuvoton's M2351 and M2354: what the chip reads at a reset before any code runs. They are at
 *  0x0030_0000 in the flash, little-endian. Names and places of the fields: fmc_reg.h, sys_reg.h and wdt_reg.h of the vendor's board support package. */

export const configWordCount = 4;
export const configAddress = 0x0030_0000;
export const configBytes = 4 * configWordCount;

export type ConfigWords = readonly number[];

export function configImage(words: ConfigWords): Uint8Array {
  const out = new Uint8Array(configBytes);
  const view = new DataView(out.buffer);
  for (const [index, word] of words.entries()) view.setUint32(4 * index, word, true);
  return out;
}

/** @param image of `configBytes`, as it is in the flash */
export function configWordsIn(image: Uint8Array): ConfigWords {
  const view = new DataView(image.buffer, image.byteOffset, configBytes);
  return Array.from({ length: configWordCount }, (_, index) => view.getUint32(4 * index, true));
}

/** Four words of 8 hex digits with commas between. @returns undefined when the text is something else */
export function parseConfigWords(text: string): ConfigWords | undefined {
  const words = text.toLowerCase().split(',');
  if (words.length !== configWordCount || !words.every(word => /^(0x)?[0-9a-f]{8}$/.test(word))) return undefined;
  return words.map(word => Number.parseInt(word.replace(/^0x/, ''), 16));
}

export const formatConfigWord = (word: number): string => `0x${word.toString(16).padStart(8, '0')}`;

type ConfigField = { readonly name: string; readonly value: number; readonly meaning: string };

type Place = { readonly name: string; readonly read: (words: ConfigWords) => number; readonly meaning: (value: number) => string };

const bits = (word: number, from: number, count: number) => (words: ConfigWords) => ((words[word] ?? 0) >>> from) & (2 ** count - 1);
const either = (zero: string, one: string) => (value: number) => (value === 0 ? zero : one);

/** The watchdog is off from the start for this value alone. */
const watchdogOff = 0b111;
/** Upper half of CONFIG3. */
const tamperOff = 0x5aa5;

const places: readonly Place[] = [
  {
    name: 'CWDTEN',
    read: words => (bits(0, 31, 1)(words) << 2) | bits(0, 3, 2)(words),
    meaning: value => (value === watchdogOff ? 'watchdog starts by software' : 'watchdog runs from the reset on'),
  },
  { name: 'CBOV', read: bits(0, 21, 3), meaning: value => `brown-out level ${value}` },
  { name: 'CBORST', read: bits(0, 20, 1), meaning: either('brown-out resets the chip', 'brown-out does not reset the chip') },
  { name: 'CBODEN', read: bits(0, 19, 1), meaning: either('brown-out detector on after a reset', 'brown-out detector off after a reset') },
  { name: 'MERASE', read: bits(0, 13, 1), meaning: either('no mass erase by ISP', 'mass erase by ISP') },
  { name: 'CBS', read: bits(0, 7, 1), meaning: either('boots from LDROM', 'boots from APROM') },
  { name: 'MBS', read: bits(0, 5, 1), meaning: either('boots from the boot loader in ROM', 'boots as CBS says') },
  { name: 'TAMPER', read: bits(3, 16, 16), meaning: value => (value === tamperOff ? 'tamper domain off' : 'tamper domain on') },
];

/** What the words say, field by field, as far as the fields have names here. */
export const describeConfig = (words: ConfigWords): readonly ConfigField[] =>
  places.map(({ name, read, meaning }) => ({ name, value: read(words), meaning: meaning(read(words)) }));
