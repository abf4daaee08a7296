import { createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CortexBoard } from '../../scripts/cortexM/board.ts';
import { concat, toHex } from '../../src/bytes.ts';
import { opening, whileOpen } from '../../src/closing.ts';
import { sha256 } from '../../src/digest.ts';
import { spkiOfPoint } from '../../src/ecKey.ts';
import { buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { putObject } from '../../src/production/devauth/transfer.ts';
import { startCommand } from '../support/command.ts';
import { covers } from '../support/covers.ts';
import { boardFolder, openSerialLink, skippedBecause, startBoard, startDevAuthOn, type TestBoardOptions } from './cortexBoard.ts';

/** The DevAuth code in C on a Cortex-M33 in QEMU, over its UART. */

const uid = Uint8Array.from({ length: 16 }, (_, index) => 0xc0 + index);
const refused = (reason: string) => expect.objectContaining({ reason });
const makeKey = async (host: DevAuthHost) => {
  const { publicKey } = await host.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
  return concat(Uint8Array.of(0x04), publicKey);
};
const hello = (host: DevAuthHost) => host.request('hello', { version: 1, nonce: new Uint8Array(16) });
const requestFor = (point: Uint8Array, serialNumber = toHex(uid)) =>
  buildCertificationRequestInfo({ subject: { commonName: 'a registration', serialNumber }, publicKeyPoint: point });

type Running = { readonly board: CortexBoard; readonly host: DevAuthHost; close(): Promise<void> };
/** A board whose DevAuth code runs. */
const start = (options?: TestBoardOptions): Promise<Running> =>
  opening(async own => {
    const board = await startBoard(own, options ?? { folder: boardFolder(own) });
    await startDevAuthOn(board);
    return { board, host: (await openSerialLink(own, board)).host };
  });

describe.skipIf(skippedBecause !== undefined)('the DevAuth code in C', () => {
  let running: Running;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running?.close());

  it('says who it is', async () => {
    const open = { lifeCycle: 'manufacture', debugState: 'open', otpMask: 0 };
    expect(await hello(running.host)).toMatchObject({ stage: 'devauth', uid, productId: 0x2354, ...open });
  });

  it('makes its key once, and signs a request for its own key and UID (R74, R75)', async () => {
    covers('R74', 'R75');
    const { host } = running;
    await expect(host.request('signCri', { cri: Uint8Array.of(0x30, 0) })).rejects.toThrow(refused('bad-state'));
    const point = await makeKey(host);
    expect(await makeKey(host)).toEqual(point);
    const forImages = { keySlot: 4, algorithm: 'ecdhEs', minEntropyBits: 256 } as const;
    const { publicKey } = await host.request('keygen', forImages);
    expect((await host.request('keygen', forImages)).publicKey).toEqual(publicKey);
    expect(publicKey).not.toEqual(point.slice(1));
    await expect(host.request('keygen', { ...forImages, keySlot: 0 })).rejects.toThrow(refused('bad-arg'));
    const cri = requestFor(point);
    const { signature } = await host.request('signCri', { cri });
    const key = createPublicKey({ key: Buffer.from(spkiOfPoint(point)), format: 'der', type: 'spki' });
    expect(verify('sha256', cri, { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
  });

  it('signs nothing else: no other UID, no other key, no bytes that only look like a request (T28)', async () => {
    covers('T28');
    const { host } = running;
    const point = await makeKey(host);
    const good = requestFor(point);
    const version = good.indexOf(0x02) + 2;
    const otherPoint = point.map((byte, index) => (index === 40 ? byte ^ 1 : byte));
    const wrong = {
      'another UID': requestFor(point, 'ab'.repeat(16)),
      'an upper-case UID': requestFor(point, toHex(uid)).map((byte, index, all) =>
        all[index - 1] === 0x63 && byte === 0x30 ? 0x41 : byte,
      ),
      'no UID': buildCertificationRequestInfo({ subject: { commonName: 'x' }, publicKeyPoint: point }),
      'another version': good.map((byte, index) => (index === version ? 1 : byte)),
      'another key': replaced(good, point, otherPoint),
      'bytes behind it': concat(good, Uint8Array.of(0)),
      'a cut one': good.slice(0, -1),
      'a hash': sha256(good),
    };
    for (const [what, cri] of Object.entries(wrong))
      await expect(host.request('signCri', { cri }), what).rejects.toThrow(refused('bad-arg'));
    for (let bit = 0; bit < good.length * 8; bit += 5) {
      const damaged = good.map((byte, index) => (index === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      const inName = toHex(damaged).includes(toHex(new TextEncoder().encode('a registration'))) === false;
      if (!inName) await expect(host.request('signCri', { cri: damaged }), `bit ${bit}`).rejects.toThrow(refused('bad-arg'));
    }
  });

  it('keeps objects that come in pieces, with their hash, and refuses others', async () => {
    const { host } = running;
    const objId = Uint8Array.from({ length: 16 }, (_, index) => index);
    await putObject(host, 'objId', objId, 5);
    expect((await hello(host)).objId).toEqual(objId);
    await expect(putObject(host, 'bundle', new Uint8Array(900).fill(1), 300)).rejects.toThrow(refused('bad-state'));
    await expect(putObject(host, 'rootCertificate', new Uint8Array(900).fill(1), 300)).rejects.toThrow(refused('bad-arg'));
    await expect(putObject(host, 'deviceCertificate', new Uint8Array(9000), 900)).rejects.toThrow(refused('bad-arg'));
    const piece = { type: 'objId', offset: 0, totalBytes: 16, data: objId } as const;
    await expect(host.request('put', { ...piece, sha256: sha256(Uint8Array.of(1)) })).rejects.toThrow(refused('bad-arg'));
    await expect(host.request('put', { ...piece, offset: 4, data: objId.slice(4) })).rejects.toThrow(refused('bad-arg'));
  });
});

describe.skipIf(skippedBecause !== undefined)('the serial link of the DevAuth code', () => {
  it('passes the conformance check of a stranger, and answers no damaged message', () =>
    whileOpen(async own => {
      const board = await startBoard(own, { folder: boardFolder(own) });
      await startDevAuthOn(board);
      const check = await startCommand(['devauth', 'check', '--serial', board.serial, '--json']).ended();
      const report = JSON.parse(check.out) as { results: { name: string; result: string }[] };
      expect(report.results.filter(({ result }) => result !== 'passed')).toEqual([]);
      expect(report.results.length).toBeGreaterThan(15);
      expect(check.status).toBe(0);

      const { client, host } = await openSerialLink(own, board);
      const damaged = Uint8Array.of(0xff, 0, 0, 0x7e, 0xd9, 0, 0, 0, 0, 0, 64, 0, 0, 1, 2, 3, 4);
      await expect(client.request(damaged)).rejects.toThrow(expect.objectContaining({ code: 'LINK_TIMEOUT' }));
      expect(await hello(host)).toMatchObject({ uid });
    }));
});

describe.skipIf(skippedBecause !== undefined)('what the chip keeps over a power cut', () => {
  it('its key, its objects, and what is burned; nothing is burned twice', () =>
    whileOpen(async own => {
      const folder = boardFolder(own);
      const before = await start({ folder });
      const point = await makeKey(before.host);
      await putObject(before.host, 'objId', new Uint8Array(16).fill(7), 16);
      const value = Uint8Array.from({ length: 32 }, (_, index) => index);
      const burn = { slot: 3, kind: 'hash', value } as const;
      expect((await before.host.request('otp', burn)).sha256).toEqual(sha256(value));
      await before.board.cutPower();
      await before.close();

      const after = own('board', await start({ folder }));
      expect(await makeKey(after.host)).toEqual(point);
      expect(await hello(after.host)).toMatchObject({ otpMask: 0b1000, objId: new Uint8Array(16).fill(7) });
      expect((await after.host.request('otp', burn)).sha256).toEqual(sha256(value));
      await expect(after.host.request('otp', { ...burn, value: value.map(byte => byte | 1) })).rejects.toThrow(refused('otp-used'));
    }));
});

describe.skipIf(skippedBecause !== undefined)('a noise source that is broken', () => {
  it.each([
    ['gives the same byte', (bytes: number) => new Uint8Array(bytes).fill(0xa5)],
    [
      'gives one byte every fourth time',
      (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (i % 4 === 0 ? 0xa5 : (i * 167) >> 2)),
    ],
  ])('%s: no key is made', (_, noise) =>
    whileOpen(async own => {
      const { host } = own('board', await start({ folder: boardFolder(own), noise }));
      await expect(makeKey(host)).rejects.toThrow(refused('entropy'));
      await expect(hello(host)).rejects.toThrow(refused('entropy'));
    }),
  );
});

function replaced(bytes: Uint8Array, old: Uint8Array, next: Uint8Array): Uint8Array {
  const at = Buffer.from(bytes).indexOf(old);
  return concat(bytes.slice(0, at), next, bytes.slice(at + old.length));
}
