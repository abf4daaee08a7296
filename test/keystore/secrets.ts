export const passphrase = 'nine lives of a cat';
/** The least argon2id takes: these tests open hundreds of keysets. */
export const cheapCost = { memoryKiB: 8, passes: 1, lanes: 1 };
