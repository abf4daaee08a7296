import { createCipheriv } from 'node:crypto';
import { concat, fromHex } from '../../src/bytes.ts';

/** RFC 5649 §4.1 over RFC 3394 §2.2.1, straight from the text on single AES blocks: the judge of the driver's cipher. */
export function wrapByHand(key: Uint8Array, secret: Uint8Array): Uint8Array {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, secret.length);
  const initial = concat(fromHex('a65959a6'), length);
  const padded = concat(secret, new Uint8Array((8 - (secret.length % 8)) % 8));
  return padded.length === 8 ? aesBlock(key, concat(initial, padded)) : wrapBlocks(key, initial, padded);
}

function wrapBlocks(key: Uint8Array, initial: Uint8Array, padded: Uint8Array): Uint8Array {
  const count = padded.length / 8;
  const blocks = Array.from({ length: count }, (_, index) => padded.slice(index * 8, index * 8 + 8));
  let head = initial;
  for (let step = 1; step <= 6 * count; step += 1) {
    const index = (step - 1) % count;
    const block = aesBlock(key, concat(head, blocks[index] as Uint8Array));
    head = block.slice(0, 8);
    const view = new DataView(head.buffer);
    view.setUint32(4, (view.getUint32(4) ^ step) >>> 0);
    blocks[index] = block.slice(8);
  }
  return concat(head, ...blocks);
}

const aesBlock = (key: Uint8Array, block: Uint8Array): Uint8Array =>
  new Uint8Array(
    createCipheriv(`aes-${key.length * 8}-ecb`, key, null)
      .setAutoPadding(false)
      .update(block),
  );
