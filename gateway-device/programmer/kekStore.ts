import { createECDH, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { fromBase64url, toBase64url, utf8 } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { contentOpenWith } from '../../src/production/contentKey.ts';
import { type KekAgreement, kekConfirmation, kekKdf } from '../../src/production/kek.ts';
import type { ContentOpen } from '../../src/production/package.ts';
import type { KeyVault } from '../chip/keyStore.ts';

/** The part of the KeyStore that holds AES_NuLink3, one key per epoch (R27–R34, R107). Keys come out of ECDH inside and never leave: callers
 *  get confirmations and the opening of packages. */
export type KekStore = {
  /** Begins an agreement. The ephemeral key lives in here and nowhere else. */
  readonly begin: () => PendingKek;
  /** Opens what is sealed under the key of this epoch; undefined when there is none. */
  readonly contentOpenOf: (epoch: number) => ContentOpen | undefined;
  /** The newest epoch, 0 before the first agreement. */
  readonly epoch: () => number;
};

type PendingKek = {
  /** Uncompressed point, 65 bytes: key A of the sequence diagram. */
  readonly point: Uint8Array;
  /** Derives the key, checks the server's confirmation, and keeps the key.
   *  @param mac the server's, 32 bytes
   *  @returns our confirmation
   *  @throws NusecError KEY_REFUSED when the server does not have the same key */
  readonly finish: (agreement: KekAgreement, mac: Uint8Array) => Uint8Array;
};

const curve = 'prime256v1';
const keyBytes = 32;
/** Packages of older epochs may still be on their way. */
const maxKeptEpochs = 4;

/** @throws NusecError KEYSTORE_DAMAGED when the vault holds something else */
export function openKekStore(vault: KeyVault): KekStore {
  let keys = readKeys(vault.load());
  const newest = (): number => Math.max(0, ...keys.keys());
  const keep = (epoch: number, key: Uint8Array): void => {
    const kept = new Map([...keys, [epoch, key] as const].sort(([a], [b]) => a - b).slice(-maxKeptEpochs));
    vault.save(writeKeys(kept));
    keys = kept;
  };
  return {
    begin: () => {
      const ephemeral = createECDH(curve);
      const point = new Uint8Array(ephemeral.generateKeys());
      return {
        point,
        finish: (agreement, mac) => {
          const key = deriveKey(ephemeral, agreement);
          if (agreement.epoch <= newest()) throw refused('the epoch does not rise');
          const expected = confirmation('C', key, agreement);
          if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) throw refused('the server does not confirm the key');
          keep(agreement.epoch, key);
          return confirmation('P', key, agreement);
        },
      };
    },
    contentOpenOf: epoch => {
      const key = keys.get(epoch);
      return key && contentOpenWith(key);
    },
    epoch: newest,
  };
}

function deriveKey(ephemeral: ReturnType<typeof createECDH>, agreement: KekAgreement): Uint8Array {
  const { salt, info } = kekKdf(agreement);
  const shared = computeSecret(ephemeral, agreement.pointC);
  try {
    return new Uint8Array(hkdfSync('sha256', shared, salt, info, keyBytes));
  } finally {
    shared.fill(0);
  }
}

function computeSecret(ephemeral: ReturnType<typeof createECDH>, point: Uint8Array): Buffer {
  try {
    return ephemeral.computeSecret(point);
  } catch {
    throw refused('the server’s key is no point of the curve');
  }
}

const confirmation = (side: 'P' | 'C', key: Uint8Array, agreement: KekAgreement): Uint8Array =>
  new Uint8Array(createHmac('sha256', key).update(kekConfirmation(side, agreement)).digest());

const writeKeys = (keys: ReadonlyMap<number, Uint8Array>): Uint8Array =>
  utf8(JSON.stringify({ version: 1, keys: Object.fromEntries([...keys].map(([epoch, key]) => [epoch, toBase64url(key)])) }));

function readKeys(content: Uint8Array | undefined): ReadonlyMap<number, Uint8Array> {
  if (!content) return new Map();
  try {
    const { keys } = JSON.parse(new TextDecoder().decode(content)) as { keys: Record<string, string> };
    return new Map(Object.entries(keys).map(([epoch, key]) => [Number(epoch), fromBase64url(key)]));
  } catch {
    throw new NusecError('KEYSTORE_DAMAGED', 'the KeyStore of the programmer is damaged');
  }
}

const refused = (detail: string): NusecError => new NusecError('KEY_REFUSED', detail);
