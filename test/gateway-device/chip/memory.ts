import type { NvStorage, Power } from '../../../gateway-device/chip/flash.ts';
import type { KeyVault } from '../../../gateway-device/chip/keyStore.ts';

/** Memories and a power supply of a chip that ends with the test. */

/** Fails in operation number `operations` + 1 and in all later ones. */
export function powerFor(operations: number): Power {
  let left = operations;
  return {
    holds: () => {
      left -= 1;
      return left >= 0;
    },
  };
}

/** Storage in memory, for devices that end with the process. @param content  a snapshot of a former one */
export function memoryStorage(content?: Uint8Array): NvStorage & { readonly snapshot: () => Uint8Array } {
  let held = content?.slice();
  return {
    load: () => held,
    write: (offset, bytes) => {
      held ??= new Uint8Array(offset + bytes.length);
      held.set(bytes, offset);
    },
    snapshot: () => held?.slice() ?? new Uint8Array(0),
  };
}

export function memoryVault(): KeyVault {
  let held: Uint8Array | undefined;
  return {
    load: () => held,
    save: content => {
      held = content.slice();
    },
  };
}
