import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Chip } from '../../../gateway-device/chip/chip.ts';
import { PowerCut } from '../../../gateway-device/chip/flash.ts';
import { takeBundle, trustBundleOf, trustOf } from '../../../gateway-device/chip/trust.ts';
import { toHex } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { putObject } from '../../../src/production/devauth/transfer.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { signTrustBundle, type TrustBundle } from '../../../src/production/trustBundle.ts';
import { type Authority, codeOf, makeIca, makeRoot } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { powerFor } from '../chip/memory.ts';
import {
  leafSlot,
  type MemoryStorage,
  makeIdentity,
  makeOem,
  newChip,
  newStorage,
  openBench,
  openSession,
  pieceBytes,
  provision,
  signerOf,
  startDevAuth,
  uid,
} from '../programmer/factory.ts';
import { flippedAt } from './attacks.ts';

/** What a chip believes, with roots that follow one another. */

let roots: readonly [Authority, Authority, Authority];
beforeAll(async () => {
  roots = [await makeRoot(), await makeRoot(), await makeRoot()];
});

const bundleOf = (version: number, trusted: readonly Authority[], by: Authority, changes: Partial<TrustBundle> = {}) =>
  signTrustBundle(
    { version, issuedAtSeconds: 1_800_000_000, roots: trusted.map(({ der }) => der), issuers: [], signingKeys: [], ...changes },
    signerOf(by.key),
  );

/** A chip with the first root burned, and its first bundle. */
async function produced(storage: MemoryStorage = newStorage()): Promise<Chip> {
  const chip = newChip(storage);
  chip.data.put('rootCertificate', roots[0].der);
  chip.otp.burn(otpMap.rootCaHash.slot, sha256(roots[0].der));
  chip.setLifeCycle('deployed');
  await takeBundle(chip, await bundleOf(1, [roots[0]], roots[0]));
  return chip;
}
const versionOf = async (chip: Chip) => (await trustOf(chip)).bundle?.version;
const ders = (...wanted: readonly Authority[]) => wanted.map(({ der }) => der);

describe('a device that follows the trust bundle', () => {
  it('given a root rollover and the retirement of its root, believes the new root alone, also after a restart', async () => {
    const storage = newStorage();
    const chip = await produced(storage);
    await takeBundle(chip, await bundleOf(2, [roots[0], roots[1]], roots[0]));
    await takeBundle(chip, await bundleOf(3, [roots[1]], roots[1]));
    for (const started of [chip, newChip(storage)])
      expect(await trustOf(started)).toMatchObject({ roots: ders(roots[1]), bundle: { version: 3 } });
  });

  it('given two retirements, still proves every step from the root in OTP', async () => {
    const storage = newStorage();
    const chip = await produced(storage);
    await takeBundle(chip, await bundleOf(2, [roots[0], roots[1]], roots[0]));
    await takeBundle(chip, await bundleOf(3, [roots[1], roots[2]], roots[1]));
    await takeBundle(chip, await bundleOf(7, [roots[2]], roots[2]));
    await takeBundle(chip, await bundleOf(8, [roots[2]], roots[2]));
    expect((await trustOf(newChip(storage))).roots).toEqual(ders(roots[2]));
    chip.data.remove('bundlePath');
    expect(await trustOf(chip)).toEqual({ bundle: undefined, roots: ders(roots[0]) });
  });

  it('keeps no path while the root in OTP signs the newest bundle itself', async () => {
    const chip = await produced();
    await takeBundle(chip, await bundleOf(2, [roots[0], roots[1]], roots[0]));
    await takeBundle(chip, await bundleOf(3, [roots[0], roots[1]], roots[1]));
    expect(chip.data.get('bundlePath')).toBeDefined();
    await takeBundle(chip, await bundleOf(4, [roots[0], roots[1]], roots[0]));
    expect(chip.data.get('bundlePath')).toBeUndefined();
  });

  it('refuses a bundle that is forged, foreign, older or of a root that is retired (T14)', async () => {
    covers('T14');
    const chip = await produced();
    const good = await bundleOf(5, [roots[0], roots[1]], roots[0]);
    expect(await codeOf(() => takeBundle(chip, flippedAt(good, good.length - 1)))).toBe('COSE_SIGNATURE');
    expect(await codeOf(async () => takeBundle(chip, await bundleOf(6, [roots[2]], roots[2])))).toBe('COSE_SIGNATURE');
    await takeBundle(chip, good);
    expect(await codeOf(async () => takeBundle(chip, await bundleOf(4, [roots[0]], roots[0])))).toBe('ROLLBACK');
    await takeBundle(chip, await bundleOf(6, [roots[1]], roots[1]));
    expect(await codeOf(async () => takeBundle(chip, await bundleOf(99, [roots[0]], roots[0])))).toBe('COSE_SIGNATURE');
    expect(await versionOf(chip)).toBe(6);
  });

  it('given the same version again, signed by another root it believes, changes nothing', async () => {
    const chip = await produced();
    await takeBundle(chip, await bundleOf(2, [roots[0], roots[1]], roots[0]));
    const before = chip.data.get('bundle');
    expect((await takeBundle(chip, await bundleOf(2, [roots[0], roots[1]], roots[1]))).bundle?.version).toBe(2);
    expect(chip.data.get('bundle')).toEqual(before);
  });

  it('when power fails at any operation, has the bundle before or the next one, and takes the next (T33)', async () => {
    covers('T33');
    const [second, third] = [await bundleOf(2, [roots[0], roots[1]], roots[0]), await bundleOf(3, [roots[1]], roots[1])];
    const storage = newStorage();
    await takeBundle(await produced(storage), second);
    const seen = new Set<number | undefined>();
    let isDone = false;
    for (let operations = 0; !isDone; operations += 1) {
      const copy = newStorage(storage);
      isDone = await takeBundle(newChip(copy, powerFor(operations)), third).then(
        () => true,
        error => {
          if (!(error instanceof PowerCut)) throw error;
          return false;
        },
      );
      const after = newChip(copy);
      seen.add(await versionOf(after));
      expect((await takeBundle(after, third)).bundle?.version).toBe(3);
      expect(await codeOf(() => takeBundle(after, second))).toBe('COSE_SIGNATURE');
    }
    expect([...seen]).toEqual([2, 3]);
  });

  it('believes nothing that only stands in flash: neither another root nor another bundle (T14)', async () => {
    covers('T14');
    const chip = await produced();
    chip.data.put('rootCertificate', roots[2].der);
    chip.data.put('bundle', await bundleOf(9, [roots[2]], roots[2]));
    expect(await codeOf(() => trustOf(chip))).toBe('CHAIN_REFUSED');
    expect(await codeOf(() => trustBundleOf(chip))).toBe('ORDER_REFUSED');
    chip.data.put('rootCertificate', roots[0].der);
    expect(await trustOf(chip)).toEqual({ bundle: undefined, roots: ders(roots[0]) });
    expect(await codeOf(() => trustBundleOf(chip))).toBe('ORDER_REFUSED');
    chip.data.put('bundlePath', new Uint8Array(3));
    expect((await takeBundle(chip, await bundleOf(2, [roots[0]], roots[0]))).bundle?.version).toBe(2);
    expect(await versionOf(chip)).toBe(2);
  });
});

describe('on the wire', () => {
  it('takes programmers of the new root and none of the retired one, and no older bundle', async () => {
    const oem = await makeOem();
    const [next, nextIca] = await makeRoot().then(async root => [root, await makeIca(root, 'programmer')] as const);
    const bench = await openBench(newChip());
    onTestFinished(() => bench.close());
    await provision(bench, oem);
    const issuers = [{ icaId: 'next', use: 'programmer', certificate: nextIca.der }];
    const { chip } = bench.board;
    const both = await bundleOf(2, [oem.root, next], oem.root, { issuers });
    await takeBundle(chip, both);
    const young = await leafSlot(next, nextIca, 'programmer');
    const { sealed } = await openSession(bench.client, oem, toHex(uid), young);
    await expect(putObject(sealed, 'bundle', oem.bundle, pieceBytes)).rejects.toMatchObject({ reason: 'version' });
    await putObject(sealed, 'bundle', both, pieceBytes);
    await putObject(sealed, 'bundle', await bundleOf(3, [next], next, { issuers }), pieceBytes);
    expect(await versionOf(chip)).toBe(3);
    await expect(openSession(bench.client, oem, toHex(uid), oem.programmer)).rejects.toThrow();
    await openSession(bench.client, oem, toHex(uid), young);
  });

  it('takes any bundle of the root in production: a unit may be tried again by another programmer', async () => {
    const oem = await makeOem();
    const bench = await openBench(newChip());
    onTestFinished(() => bench.close());
    await startDevAuth(bench.debug);
    await makeIdentity(bench.devAuth, oem);
    await putObject(bench.devAuth, 'bundle', await bundleOf(5, [oem.root], oem.root), pieceBytes);
    await putObject(bench.devAuth, 'bundle', oem.bundle, pieceBytes);
    expect(await versionOf(bench.board.chip)).toBe(1);
  });
});
