import { NusecError } from '../../errors.ts';
import { ecAlgorithm, requireAes, requireKek, requireP256 } from '../keyRules.ts';
import type { KeyInfo } from '../port.ts';
import { CryptokiError } from './cryptoki.ts';
import { isLost, openToken, type TokenOptions } from './token.ts';
import { openTokenKeys, type TokenKeys } from './tokenKeys.ts';
import { createOperations, type TokenOperations } from './tokenOperations.ts';

/** What the token process does for the keystore, each with the checks that need to know the key. */
export type TokenApi = TokenOperations &
  Omit<TokenKeys, 'entry' | 'list'> & {
    list(): Promise<readonly KeyInfo[]>;
    /** @throws CryptokiError when the token is gone */
    check(): Promise<void>;
  };

/** @throws as `openToken` and `openTokenKeys` */
export async function openTokenApi(options: TokenOptions): Promise<TokenApi> {
  const token = await openToken(options);
  const keys = await openTokenKeys(token);
  const operations = createOperations(token, keys);
  return {
    list: async () => keys.list(),
    find: keys.find,
    check: async () => token.check(),
    generate: keys.generate,
    addPair: keys.addPair,
    addAgreed: keys.addAgreed,
    destroy: keys.destroy,
    async sign(id, digest) {
      ecAlgorithm(keys.entry(id));
      return operations.sign(id, digest);
    },
    async derive(id, ...rest) {
      requireP256(keys.entry(id));
      return operations.derive(id, ...rest);
    },
    async mac(id, message) {
      requireAes(keys.entry(id));
      return operations.mac(id, message);
    },
    async seal(id, ...rest) {
      requireAes(keys.entry(id));
      return operations.seal(id, ...rest);
    },
    async generateWrapped(kekId, context) {
      requireKek(keys.entry(kekId));
      return operations.generateWrapped(kekId, context);
    },
    async signWrapped(kekId, ...rest) {
      requireKek(keys.entry(kekId));
      return operations.signWrapped(kekId, ...rest);
    },
    async rewrap(kekId, context, wrapped, newKekId) {
      requireKek(keys.entry(kekId));
      requireKek(keys.entry(newKekId));
      return operations.rewrap(kekId, context, wrapped, newKekId);
    },
    async wrapBorn(kekId, context, scalar) {
      requireKek(keys.entry(kekId));
      return operations.wrapBorn(kekId, context, scalar);
    },
  };
}

/** CKR_DEVICE_MEMORY. */
const tokenFull = 0x31;

/** An error as it goes from the token process to the server. `lost`: the token, its sessions or handles are gone. */
export type TokenFailure = { readonly code: NusecError['code']; readonly detail: string; readonly lost: boolean };

export function failureOf(error: unknown): TokenFailure {
  if (error instanceof NusecError) return { code: error.code, detail: error.message, lost: false };
  const detail = error instanceof Error ? error.message : 'unknown';
  if (error instanceof CryptokiError && error.returnValue === tokenFull)
    return { code: 'KEYSTORE_UNAVAILABLE', detail: 'the token is full', lost: false };
  return { code: 'KEYSTORE_UNAVAILABLE', detail, lost: isLost(error) };
}
