import { beforeAll, describe, expect, it } from 'vitest';
import type { BoardEvent, StageContext } from '../../../gateway-device/chip/board.ts';
import { type Chip, openChip } from '../../../gateway-device/chip/chip.ts';
import { type Power, PowerCut, steadyPower } from '../../../gateway-device/chip/flash.ts';
import { authKeySlot, type KeyVault } from '../../../gateway-device/chip/keyStore.ts';
import type { Trust } from '../../../gateway-device/chip/trust.ts';
import {
  acceptNext,
  discardLeftKeys,
  dropNext,
  hasNextCertificate,
  hasOperational,
  isUnderWay,
  keepCertificate,
  nextRequest,
  serialOf,
  tlsOf,
} from '../../../gateway-device/device/app/operational.ts';
import { createRenewal, type RenewalClient } from '../../../gateway-device/device/app/renewal.ts';
import { fromHex, toHex } from '../../../src/bytes.ts';
import { encodeAs } from '../../../src/cbor/schema.ts';
import type { CborMap } from '../../../src/cbor/value.ts';
import { certificateMessage } from '../../../src/mqttMessages.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { judgeCsr } from '../../../src/pki/csr.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { type Authority, codeOf, leafFields, makeCsr, makeIca, makeKey, makeRoot, organization } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { powerFor } from '../chip/memory.ts';
import { identity, type MemoryStorage, newStorage, objId, uid } from '../programmer/factory.ts';

/** The operational identity in the memories of a chip (LDevID): what is left after a power cut anywhere. */

let root: Authority;
let ica: Authority;
let trust: Trust;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
  trust = { bundle: undefined, roots: [root.der] };
});

const subject = { commonName: toHex(objId), serialNumber: toHex(uid) };
const fieldsOf = (publicKey: Uint8Array, of = subject) => ({
  ...leafFields(ica, publicKey),
  organization,
  uid: of.serialNumber,
  objId: of.commonName,
});

/** The server: the same key gets the same certificate. */
function server() {
  const issued = new Map<string, Uint8Array>();
  return {
    issued,
    async certify(csr: Uint8Array): Promise<readonly Uint8Array[]> {
      const { publicKey } = judgeCsr(csr, { ...subject, organizationalUnit: 'LDevID' });
      const known = issued.get(toHex(publicKey)) ?? (await issueCertificate('ldevid', fieldsOf(publicKey), ica.key.signer)).der;
      issued.set(toHex(publicKey), known);
      return [known, ica.der];
    },
  };
}

/** Keys are lost with the power like everything else. */
const vaultWith = (vault: KeyVault, power: Power): KeyVault => ({
  load: vault.load,
  save: content => {
    if (!power.holds()) throw new PowerCut();
    vault.save(content);
  },
});
const start = (storage: MemoryStorage, power = steadyPower): Chip => {
  const chip = openChip(identity, { ...storage, keys: vaultWith(storage.keys, power) }, power);
  discardLeftKeys(chip);
  return chip;
};
function copyOf(storage: MemoryStorage): MemoryStorage {
  const copy = newStorage(storage);
  copy.keys.save(storage.keys.load() ?? new Uint8Array());
  return copy;
}

async function produced(): Promise<MemoryStorage> {
  const storage = newStorage();
  const chip = openChip(identity, storage);
  const spki = parseCertificate((await issueCertificate('device', fieldsOf(makeKey().spki), ica.key.signer)).der).spki.slice(0, -65);
  const point = chip.keyStore.generate(authKeySlot);
  const { der } = await issueCertificate('device', fieldsOf(new Uint8Array([...spki, ...point])), ica.key.signer);
  chip.data.putAll({ deviceCertificate: der, icaCertificate: ica.der, rootCertificate: root.der, objId });
  return storage;
}

/** @returns serial number of the new certificate */
async function renew(chip: Chip, certify: (csr: Uint8Array) => Promise<readonly Uint8Array[]>): Promise<string | undefined> {
  if (!hasNextCertificate(chip)) keepCertificate(chip, trust, await certify(await nextRequest(chip)));
  acceptNext(chip);
  return serialOf(chip, 'ldevid');
}
const keysOf = (chip: Chip): number[] => [0, 1, 2, 3].filter(slot => chip.keyStore.publicKey(slot));

describe('the operational identity of a device', () => {
  it('is a key of its own beside that of production, which stays', async () => {
    const chip = start(await produced());
    const { certify, issued } = server();
    const serial = await renew(chip, certify);
    const leaf = parseCertificate([...issued.values()][0] ?? new Uint8Array());
    expect(serial).toBe(leaf.serialHex);
    expect(leaf.subject).toMatchObject({ organizationalUnit: 'LDevID', ...subject });
    expect(leaf.point).not.toEqual(chip.keyStore.publicKey(authKeySlot));
    expect(tlsOf(chip, 'ldevid', trust)).toBeDefined();
    expect(tlsOf(chip, 'idevid', trust)).toBeDefined();
    expect(await codeOf(() => chip.keyStore.discard(authKeySlot))).toBe('KEY_REFUSED');
  });

  it('is renewed with a fresh key each time; the key before is gone once the next is accepted', async () => {
    const chip = start(await produced());
    const { certify, issued } = server();
    for (let generation = 1; generation <= 3; generation += 1) {
      await renew(chip, certify);
      expect(issued.size).toBe(generation);
      expect(keysOf(chip)).toEqual([authKeySlot, generation % 2 === 1 ? 1 : 2]);
    }
  });

  it('given a power cut at any operation, works with an identity and goes on to exactly one more certificate (T33)', async () => {
    covers('T33');
    const first = await produced();
    const { certify } = server();
    const before = await renew(start(first), certify);
    let cuts = 0;
    let isDone = false;
    for (let operations = 0; !isDone; operations += 1) {
      const storage = copyOf(first);
      const mine = server();
      const cut = async () => renew(start(storage, powerFor(operations)), mine.certify);
      isDone = await cut().then(
        () => true,
        error => {
          if (!(error instanceof PowerCut)) throw error;
          cuts += 1;
          return false;
        },
      );
      const chip = start(storage);
      expect(hasOperational(chip)).toBe(true);
      for (const who of ['idevid', 'ldevid'] as const) expect(tlsOf(chip, who, trust), `${who} after ${operations}`).toBeDefined();
      // Cut after the commit, nothing is left to do but to discard a key; cut before the first write, the server reminds again.
      const isAccepted = mine.issued.size === 1 && !isUnderWay(chip);
      const serial = isAccepted ? undefined : await renew(chip, mine.certify);
      expect(mine.issued.size).toBe(1);
      if (serial) expect(serial).not.toBe(before);
      expect(keysOf(chip)).toEqual([authKeySlot, 2]);
      expect(isUnderWay(chip)).toBe(false);
    }
    expect(cuts).toBeGreaterThan(10);
  });

  it('takes no certificate of another key, device, registration or issuer (T14)', async () => {
    covers('T14');
    const chip = start(await produced());
    const other = makeKey();
    const sign = async (publicKey: Uint8Array, of = subject, by = ica) =>
      (await issueCertificate('ldevid', { ...fieldsOf(publicKey, of), issuer: by.certificate }, by.key.signer)).der;
    const own = judgeCsr(await nextRequest(chip)).publicKey;
    const stranger = await makeIca(await makeRoot());
    for (const chain of [
      [],
      [await sign(own)],
      [await sign(other.spki), ica.der],
      [await sign(own, { ...subject, serialNumber: 'ff'.repeat(16) }), ica.der],
      [await sign(own, { ...subject, commonName: 'ee'.repeat(16) }), ica.der],
      [await sign(own, subject, stranger), stranger.der],
    ])
      expect(await codeOf(() => keepCertificate(chip, trust, chain))).toBe('CHAIN_REFUSED');
    expect(hasNextCertificate(chip)).toBe(false);
    keepCertificate(chip, trust, [await sign(own), ica.der]);
    expect(hasNextCertificate(chip)).toBe(true);
  });

  it('makes another key after a refusal, and the same request again after a loss', async () => {
    const storage = await produced();
    const chip = start(storage);
    const first = judgeCsr(await nextRequest(chip)).publicKey;
    expect(judgeCsr(await nextRequest(start(storage))).publicKey).toEqual(first);
    dropNext(chip);
    expect(keysOf(chip)).toEqual([authKeySlot]);
    expect(judgeCsr(await nextRequest(chip)).publicKey).not.toEqual(first);
    expect(await codeOf(() => keepCertificate(start(newStorage()), trust, [makeCsr(makeKey()), ica.der]))).toBe('CHAIN_REFUSED');
  });
});

describe('going over to a new certificate', () => {
  const busy = new Error('connack timeout');
  const notAuthorized = Object.assign(new Error('Connection refused: Not authorized'), { code: 5 });

  /** A device that is told that it is time, on a server that answers the new connection like this. */
  async function reminded(answers: readonly (Error | undefined)[]) {
    const chip = start(await produced());
    const { certify, issued } = server();
    const told: BoardEvent[] = [];
    const pending = [...answers];
    let remind: (payload: Uint8Array) => void = () => undefined;
    const client: RenewalClient = {
      on: (_family, handler) => {
        remind = payload => handler(payload, '');
        return () => undefined;
      },
      async request({ fields }) {
        const chain = await certify(new Map<unknown, unknown>(fields).get(1) as Uint8Array);
        return new Map<number, unknown>([
          [0, 1],
          [1, chain],
        ]) as CborMap;
      },
      switchTls: async () => {
        const answer = pending.shift();
        if (answer) throw answer;
      },
    };
    const context = { chip, boot: { confirmed: true }, tell: (event: BoardEvent) => void told.push(event) } as unknown as StageContext;
    createRenewal(
      context,
      client,
      () => 'idevid',
      () => undefined,
    );
    const serial = fromHex(serialOf(chip, 'idevid') ?? '');
    for (const [at] of answers.entries()) {
      remind(encodeAs(certificateMessage, { chain: null, serial }));
      await expect.poll(() => pending.length).toBe(answers.length - at - 1);
      await new Promise(resolve => setImmediate(resolve));
    }
    return { chip, issued, told };
  }

  it('is tried again with the same certificate when the server was too busy to answer', async () => {
    const { issued, told } = await reminded([busy, busy, undefined]);
    await expect.poll(() => told).toMatchObject([{ event: 'renewed' }]);
    expect(issued.size).toBe(1);
  });

  it('ends with another key when the server does not accept the certificate', async () => {
    const { chip, told } = await reminded([notAuthorized]);
    await expect.poll(() => told).toEqual([{ event: 'refused', what: 'certificate', code: 'CLIENT_CERTIFICATE_REFUSED' }]);
    expect(hasNextCertificate(chip)).toBe(false);
  });
});
