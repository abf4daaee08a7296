import { createHash, createPrivateKey, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { boot } from '../../gateway-device/chip/bootloader.ts';
import { confirmImage, markPending } from '../../gateway-device/chip/slotTrailer.ts';
import { concat, toHex } from '../../src/bytes.ts';
import { rawSigner } from '../../src/cose/sign1.ts';
import { sha256 } from '../../src/digest.ts';
import { formatVersion, parseVersion } from '../../src/domain/version.ts';
import { blockArrived, blockRefused, isComplete, newBlockPlan, nextRequests } from '../../src/ota/blockPlan.ts';
import { type BlockChannel, deliveryBlockHashes, openBlock, openBlockChannel, sealBlock } from '../../src/ota/blocks.ts';
import { buildImage, deviceTrailer, encryptBody, referenceHash, signInput } from '../../src/ota/build.ts';
import { wrapKey } from '../../src/ota/ecies.ts';
import { blockCount, jobDigestOf, judgeJob, type OtaJob, signJob, verifyJob } from '../../src/ota/otaJob.ts';
import { prepareRelease } from '../../src/ota/prepare.ts';
import { specOf } from '../../src/ota/spec.ts';
import { classUuid, layout, makeDevice, signedImage, uid, vendorUuid } from '../gateway-device/chip/bootFixture.ts';
import { covers } from '../support/covers.ts';
import { privateKey, publicKey } from './vectors.ts';

const deviceKey = createPrivateKey({ key: Buffer.from(privateKey('sign-p256')), format: 'der', type: 'pkcs8' });
const cloudKey = createPrivateKey({ key: Buffer.from(privateKey('other-p256')), format: 'der', type: 'pkcs8' });
const sessionSecret = sha256('exported from the session');
const kid = sha256('cloud').subarray(0, 8);

/** The cloud's side: one ciphertext for the release, one trailer and one job for the device. */
async function prepare() {
  const payload = createHash('shake256', { outputLength: 5000 }).update('new firmware').digest();
  const release = prepareRelease(payload, { version: parseVersion('2.0.0'), securityCounter: 4, vendorUuid, classUuid });
  const encrypted = buildImage({ ...specOf(release.body), encryptionBits: 256 });
  const cek = sha256('content key');
  const trailer = deviceTrailer({
    imageHash: encrypted.imageHash,
    publicKey: publicKey('sign-p256'),
    keyForm: 'whole',
    signature: sign('sha256', signInput(encrypted), deviceKey),
    encTlv: wrapKey(cek, publicKey('enc-p256').subarray(-65), sha256('ephemeral')),
  });
  const delivery = { body: encryptBody(encrypted, cek), trailer };
  const job: OtaJob = {
    format: 1,
    otaJobId: sha256('job').subarray(0, 16),
    uid,
    imageHash: encrypted.imageHash,
    imageBytes: delivery.body.length + trailer.length,
    version: parseVersion('2.0.0'),
    securityCounter: 4,
    blockBytes: layout.sectorBytes,
    blockHashes: deliveryBlockHashes(delivery, layout.sectorBytes),
    expiresAtSeconds: 2_000_000_000,
    sequence: 1,
    dependencies: [],
    vendorUuid,
    classUuid,
  };
  const signed = await signJob(
    job,
    kid,
    rawSigner(async message => sign('sha256', message, cloudKey)),
  );
  return { delivery, signed, imageHash: encrypted.imageHash };
}

describe('a release on its way to one device (R95)', () => {
  it('arrives whole over a bad link, boots, and attests the reference value (T21)', async () => {
    covers('R95', 'T21');
    const { delivery, signed, imageHash } = await prepare();
    const device = makeDevice(signedImage('1.0.0', 3)).start();
    boot(device);
    const { job } = await verifyJob(signed, () => publicKey('other-p256'));
    const target = { uid, vendorUuid, classUuid, securityCounter: device.otp.counter('application'), slotBytes: layout.secondary.bytes };
    expect(judgeJob(job, target)).toBeUndefined();

    const cloud = openBlockChannel(sessionSecret, { job, jobDigest: jobDigestOf(signed) });
    const mcu: BlockChannel = openBlockChannel(sessionSecret, { job, jobDigest: jobDigestOf(signed) });
    let plan = newBlockPlan(blockCount(job));
    let sent = 0;
    for (let nowMs = 0; !isComplete(plan) && nowMs < 10_000; nowMs += 100) {
      const step = nextRequests(plan, nowMs, { windowBlocks: 4, timeoutMs: 100, maxTries: 9 });
      plan = step.plan;
      for (const index of step.runs.flatMap(run => Array.from({ length: run.count }, (_, i) => run.first + i))) {
        sent += 1;
        const sealed = concat(...sealBlock(cloud, delivery, index));
        if (sent % 3 === 0) sealed[7] = (sealed[7] ?? 0) ^ 1;
        const block = sent % 5 === 0 ? undefined : openBlock(mcu, index, sealed);
        if (block) device.flash.program(layout.secondary.offset + index * job.blockBytes, block);
        plan = block ? blockArrived(plan, index) : blockRefused(plan, index);
      }
    }
    expect(isComplete(plan)).toBe(true);
    expect(sent).toBeGreaterThan(blockCount(job));

    markPending(device.flash, layout);
    const tested = boot(device);
    expect(tested.app && formatVersion(tested.app.version)).toBe('2.0.0');
    expect(toHex(tested.measurements[1]?.digest ?? new Uint8Array(0))).toBe(toHex(imageHash));
    confirmImage(device.flash, layout);
    boot(device);
    expect(device.otp.counter('application')).toBe(4);
  });

  it('has one body for all devices: trailers differ, the image hash does not (RULE-12)', async () => {
    covers('RULE-12');
    const first = await prepare();
    const second = await prepare();
    expect(toHex(first.delivery.trailer)).not.toBe(toHex(second.delivery.trailer));
    expect(toHex(referenceHash(first.delivery.body))).toBe(toHex(referenceHash(second.delivery.body)));
    expect(toHex(first.imageHash)).toBe(toHex(second.imageHash));
  });
});
