import { readFileSync } from 'node:fs';
import { sha256 } from '../../src/digest.ts';
import { readDecryptionKey } from '../../src/ota/ecies.ts';
import type { BootPolicy } from '../../src/ota/verify.ts';

/** The MCUboot vectors and the bootloader configurations their verdicts name. */

const folder = new URL('../vectors/mcuboot/', import.meta.url);

export const vector = (path: string): Uint8Array => new Uint8Array(readFileSync(new URL(path, folder)));
export const image = (name: string): Uint8Array => vector(`images/${name}`);
export const publicKey = (name: string): Uint8Array => vector(`keys/${name}.pub.der`);
export const privateKey = (name: string): Uint8Array => vector(`keys/${name}.priv.der`);
export const readJson = (path: string) => JSON.parse(readFileSync(new URL(path, folder), 'utf8'));

export const slotBytes = 256 * 1024;
const ecKeys = [publicKey('sign-p256')];
const edKeys = [publicKey('sign-ed25519')];
export const encP256 = { curve: 'P-256', privateKey: readDecryptionKey('P-256', privateKey('enc-p256')) } as const;
const x25519Aes128 = { curve: 'X25519', privateKey: readDecryptionKey('X25519', privateKey('enc-x25519')), keyBits: 128 } as const;
export const otpKeyHash = sha256(publicKey('sign-p256'));

export const keyhash: BootPolicy = { slotBytes, signature: { algorithm: 'P-256', keyHashOf: ecKeys } };

/** Configuration by the name the verdict files use. */
export function policyFor(configuration: string, imageName: string): BootPolicy {
  const ed25519 = imageName.includes('ed25519');
  const signature = { algorithm: ed25519 ? 'Ed25519' : 'P-256', keyHashOf: ed25519 ? edKeys : ecKeys } as const;
  switch (configuration) {
    case 'keyhash':
      return { slotBytes, signature };
    case 'keyhash nv=5':
      return { slotBytes, signature, securityCounter: 5 };
    case 'hw-key':
      return { slotBytes, signature: { algorithm: 'P-256', otpKeyHash } };
    case 'keyhash+encP256(aes by header) nv=0':
      return { slotBytes, signature, securityCounter: 0, decryption: encP256 };
    case 'primary slot, enc build':
      return { slotBytes, signature, securityCounter: 0, decryption: encP256, slot: 'primary' };
    case 'keyhash+x25519/aes128':
      return { slotBytes, signature, decryption: x25519Aes128 };
    case 'ed25519 pure':
      return { slotBytes, signature: { algorithm: 'Ed25519-pure', keyHashOf: edKeys } };
    case 'unsigned build':
      return { slotBytes, signature: { algorithm: 'none' } };
    default:
      throw new Error(`unknown configuration ${configuration}`);
  }
}
