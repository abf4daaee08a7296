import { InvalidArgumentError } from 'commander';

/** Parsers for option values: what does not fit is refused where it is typed, with exit status 2. */

/** A whole number in plain digits: no sign, no exponent, no hex. */
export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d{1,16}$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`It takes a whole number from ${least} to ${most}.`);
    return value;
  };

const mostUnits = 0xffff_ffff;
export const unitCount = wholeNumber(0, mostUnits);

/** A TCP port; 0 is any free one. */
export const portNumber = wholeNumber(0, 0xffff);

/** The address of the API. */
export function httpsUrl(text: string): string {
  const { protocol, username } = URL.canParse(text) ? new URL(text) : { protocol: '', username: '' };
  if (protocol !== 'https:' || username !== '')
    throw new InvalidArgumentError(
      'It takes an address that begins with https://, such as https://localhost:8443, without a name and a password.',
    );
  return text;
}

/** Options that take one word of a closed list name the list when they refuse. */
export const oneOf =
  (words: readonly string[]) =>
  (text: string): string => {
    if (!words.includes(text)) throw new InvalidArgumentError(`It takes one of ${words.join(', ')}.`);
    return text;
  };

/** Of an AES key. */
export const keyBits = (text: string): 128 | 256 => (oneOf(['128', '256'])(text) === '256' ? 256 : 128);

/** How people are called in the API. */
export function personName(text: string): string {
  if (!/^[a-z][a-z0-9._-]{0,63}$/.test(text))
    throw new InvalidArgumentError('A name is 1 to 64 of a–z, 0–9, . _ - and begins with a letter.');
  return text;
}
