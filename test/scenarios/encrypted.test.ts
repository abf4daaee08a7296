import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openChipFolder } from '../../gateway-device/chip/chip.ts';
import { encryptionKeySlot } from '../../gateway-device/chip/keyStore.ts';
import { markPending } from '../../gateway-device/chip/slotTrailer.ts';
import type { Running } from '../../scripts/demo/processes.ts';
import { type Life, newLife, steps, type Unit } from '../../scripts/demo/steps.ts';
import { createWorld, type World } from '../../scripts/demo/world.ts';
import { fromBase64url, toHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { spkiOfPoint } from '../../src/ecKey.ts';
import { readHeader, readImageTlvs, slotReader } from '../../src/ota/image.ts';
import { findTlv, tlvType } from '../../src/ota/tlv.ts';
import { covers } from '../support/covers.ts';

/** A line that accepts encrypted images only, from production to upgrades on all four ways, each machine a process of its own. */

const limitMs = 300_000;
const applicationBytes = 60_000;

describe.each([
  { how: 'for the key of each device', options: ['--only'] },
  { how: 'for the key of each device, and bound to its UID', options: ['--only', '--uid-bound', '--bits', '256'] },
])('images that are encrypted $how', ({ options }) => {
  const isUidBound = options.includes('--uid-bound');
  let life: Life;
  let world: World;
  const wired: Running[] = [];

  const payload = (version: string): Uint8Array =>
    new Uint8Array(
      Buffer.concat(Array.from({ length: applicationBytes / 32 }, (_, i) => sha256(new TextEncoder().encode(`${version} ${i}`)))),
    );
  const step = (name: string) => steps.find(each => each.name.startsWith(name))?.run(life);
  const unit = (index: number): Unit => life.units[index] as Unit;
  const folder = (index: number): string => `${world.dir}/mcu${index + 1}`;
  const serial = (running: Running | undefined): string => `127.0.0.1:${running?.ready.serialPort}`;
  const of = (type: string, stream: string) => (event: { type: string; stream: string }) => event.type === type && event.stream === stream;
  /** What the log says of a unit and this release. */
  const told = (type: string, index: number, releaseId: string) =>
    world.event(e => of(type, `device-${unit(index).uid}`)(e) && e.data.releaseId === releaseId, `${type} of unit ${index}`);
  const upload = async (version: string): Promise<string> => {
    const file = world.file(`app-${version}-${wired.length}.bin`, payload(version));
    const named = ['--line', life.line, '--image', 'app', '--version', version, '--counter', '2'];
    const { lines, status, error } = await world.nusec('release', 'upload', file, ...named, '--json');
    expect(status, JSON.stringify(error)).toBe(0);
    return (lines.at(-1) as { releaseId: string }).releaseId;
  };
  const publish = async (version: string): Promise<string> => {
    const releaseId = await upload(version);
    await world.bob.json('POST', `/v1/releases/${releaseId}/approve`, {});
    await world.alice.json('POST', `/v1/releases/${releaseId}/publish`, {});
    return releaseId;
  };
  const rollOut = async (releaseId: string): Promise<void> => {
    const devices = life.units.map(({ uid }) => uid);
    const { rolloutId } = await world.alice.json<{ rolloutId: string }>('POST', '/v1/rollouts', { releaseId, devices });
    await world.bob.json('POST', `/v1/rollouts/${rolloutId}/approve`, {});
    await world.alice.json('POST', `/v1/rollouts/${rolloutId}/start`, {});
    await Promise.all(life.units.map((_, index) => told('FirmwareOffered', index, releaseId)));
  };
  const upgraded = (index: number, releaseId: string) => told('FirmwareUpgraded', index, releaseId);
  /** Image in the second slot of a chip whose power is off, and what the chip decrypts with. */
  const inSecondSlot = (index: number) => {
    const chip = openChipFolder(folder(index));
    const { offset, bytes } = chip.layout.secondary;
    const image = chip.flash.read(offset, bytes - chip.layout.sectorBytes);
    const point = chip.keyStore.publicKey(encryptionKeySlot) as Uint8Array;
    chip.close();
    const kept = JSON.parse(readFileSync(`${folder(index)}/keystore.json`, 'utf8')) as { keys: Record<string, string> };
    const der = Buffer.from(kept.keys[encryptionKeySlot] ?? '', 'base64url').toString('base64');
    const privateKey = world.file(
      `encryption-${index}.pem`,
      new TextEncoder().encode(`-----BEGIN PRIVATE KEY-----\n${der}\n-----END PRIVATE KEY-----\n`),
    );
    return { image, point, privateKey };
  };

  beforeAll(async () => {
    world = await createWorld({ patienceMs: 120_000 });
    life = newLife(world);
    await step('a product line gets its issuing CA');
  }, limitMs);
  afterAll(() => world?.close());

  it(
    'a plain release is refused by a line that accepts encrypted images only, until its variant is made and approved',
    async () => {
      covers('R92', 'RULE-13');
      const plain = await publish('0.9.0');
      const set = await world.nusec('line', 'encryption', life.line, ...options, '--json');
      expect(set.status, JSON.stringify(set.error)).toBe(0);
      const refusal = { code: 'ENCRYPTION_REQUIRED' };
      await expect(world.alice.json('POST', '/v1/rollouts', { releaseId: plain })).rejects.toMatchObject(refusal);
      const { jobId } = await world.alice.json<{ jobId: string }>('POST', '/v1/jobs', { line: life.line, plannedCount: 1 });
      await expect(world.alice.json('POST', `/v1/jobs/${jobId}/firmware`, { releaseId: plain })).rejects.toMatchObject(refusal);
      expect(await upload('0.9.0')).toBe(plain);
      await world.alice.json('POST', `/v1/jobs/${jobId}/firmware`, { releaseId: plain });
    },
    limitMs,
  );

  it(
    'production makes a key in each chip, certifies it, and writes the variant with the flag in clear',
    async () => {
      covers('R54', 'R93');
      for (const name of ['bootloader and application', 'a blank programmer', 'a job for two units', 'the manufacturer imports'])
        await step(name);
      await step('the first MCU is produced');
      await step('the second MCU is produced');
      const keys = await Promise.all(
        life.units.map(
          async ({ uid }) => (await world.event(of('EncryptionKeyCertified', `device-${uid}`), 'a certified key')).data.publicKey,
        ),
      );
      expect(new Set(keys).size).toBe(2);
      const release = await world.alice.json<{ imageHash: string }>('GET', `/v1/releases/${life.releases.app}`);
      const installed = await world.event(of('FirmwareInstalled', `device-${unit(0).uid}`), 'firmware installed');
      expect(installed.data.imageHash).not.toBe(release.imageHash);
    },
    limitMs,
  );

  it(
    'an upgrade comes encrypted by MQTT and by HTTPS; nothing of it is in clear in the second slot, and another chip cannot open it',
    async () => {
      covers('R91', 'R92', 'RULE-18', 'T21');
      const [, second] = life.units;
      await second?.mcu.stop();
      const mcu = await world.start('mcu 2', 'mcu', 'run', '--data', folder(1), '--mqtt', world.mqtt, '--https', world.url, '--json');
      life.units[1] = { ...unit(1), mcu };
      const releaseId = await publish('1.1.0');
      await rollOut(releaseId);
      const [first] = await Promise.all([upgraded(0, releaseId), upgraded(1, releaseId)]);
      await mcu.until(line => line.event === 'fetched', 'blocks by HTTPS', limitMs);
      expect(first.data.imageHash).toMatch(/^[0-9a-f]{64}$/);
      await Promise.all(life.units.map(each => each.mcu.stop()));

      // What ran before is back in the second slot, encrypted for this chip: its certified key opens it, the other one does not.
      const [own, other] = [inSecondSlot(0), inSecondSlot(1)];
      const certified = await world.event(of('EncryptionKeyCertified', `device-${unit(0).uid}`), 'a certified key');
      expect(fromBase64url(String(certified.data.publicKey))).toEqual(own.point);
      expect(createPublicKey({ key: Buffer.from(spkiOfPoint(own.point)), format: 'der', type: 'spki' }).asymmetricKeyType).toBe('ec');
      const file = world.file('second-slot.bin', own.image);
      const slot = slotReader(own.image, own.image.length);
      const header = readHeader(slot);
      if (typeof header === 'string') throw new Error(header);
      const tlvs = readImageTlvs(slot, header);
      if (typeof tlvs === 'string') throw new Error(tlvs);
      expect(findTlv(tlvs.protectedTlvs, tlvType.uidBinding) === undefined).toBe(!isUidBound);
      const spki = findTlv(tlvs.tlvs, tlvType.publicKey) as Uint8Array;
      const pem = `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki).toString('base64')}\n-----END PUBLIC KEY-----\n`;
      const key = world.file('app.pub.pem', new TextEncoder().encode(pem));
      const verify = (...more: readonly string[]) => world.nusec('image', 'verify', file, '--key', key, ...more, '--json');
      expect((await verify('--encryption-key', own.privateKey)).lines.at(-1)).toMatchObject({ ok: true });
      expect((await verify('--encryption-key', other.privateKey)).lines.at(-1)).toMatchObject({
        ok: false,
        reason: 'enc-key-unwrap-failed',
      });
      const body = own.image.subarray(header.headerBytes, header.headerBytes + header.payloadBytes);
      expect(toHex(body)).not.toContain(toHex(sha256(new TextEncoder().encode('app 1.0.0 7'))));

      // The whole slot of the first chip in the second one: its bootloader refuses it and starts what it had.
      const chip = openChipFolder(folder(1));
      const { secondary, sectorBytes } = chip.layout;
      for (let at = 0; at < secondary.bytes; at += sectorBytes) chip.flash.eraseSector(secondary.offset + at);
      chip.flash.program(secondary.offset, own.image);
      markPending(chip.flash, chip.layout, true);
      chip.sync();
      chip.close();
      for (const index of [0, 1]) wired.push(await world.start(`wired ${index}`, 'mcu', 'run', '--data', folder(index), '--json'));
      const boot = await wired[1]?.until(line => line.event === 'boot', 'a boot', limitMs);
      expect(boot).toMatchObject({ stage: 'app', version: '1.1.0+0', reason: 'enc-key-unwrap-failed' });
    },
    limitMs,
  );

  it(
    'a programmer and a gateway bring it over a serial line',
    async () => {
      covers('R87', 'R96');
      const releaseId = await publish('1.2.0');
      await rollOut(releaseId);
      const done = await world.nusec(
        'programmer',
        'upgrade',
        '--programmer',
        serial(life.programmer),
        '--target-serial',
        serial(wired[0]),
        '--json',
      );
      expect(done.status, JSON.stringify([done.error, ...done.lines])).toBe(0);
      const { uid } = unit(1);
      const id = 'hall-7';
      expect((await world.nusec('gateway', 'register', '--id', id)).status).toBe(0);
      expect((await world.nusec('gateway', 'attach', '--id', id, '--device', uid)).status).toBe(0);
      const wire = `${uid}=${serial(wired[1])}`;
      await world.start(
        'gateway',
        'gateway',
        'run',
        '--data',
        `${world.dir}/gw`,
        '--id',
        id,
        '--mqtt',
        world.mqtt,
        '--device',
        wire,
        '--json',
      );
      await Promise.all([upgraded(0, releaseId), upgraded(1, releaseId)]);
    },
    limitMs,
  );
});
