/** `1 device`, `1,000 devices`: a number and what it counts, for people. */
export const counted = (count: number, name: string): string => `${count.toLocaleString('en')} ${name}${count === 1 ? '' : 's'}`;
