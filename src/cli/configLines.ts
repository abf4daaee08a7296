import { type ConfigWords, describeConfig, formatConfigWord } from '../production/configWords.ts';

/** Configuration words of a chip, and what they say. */
export const configLines = (words: ConfigWords): readonly string[] => [
  words.map((word, index) => `CONFIG${index} ${formatConfigWord(word)}`).join('  '),
  ...describeConfig(words).map(({ name, value, meaning }) => `  ${name} ${value}: ${meaning}`),
];
