import { describe, expect, it } from 'vitest';
import { imageHashesOf, type ReleaseCommand, release, releaseContent, releaseFacts } from '../../src/domain/release.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

const upload = {
  releaseId: 'r1',
  line: 'meter',
  image: 'app',
  version: '2.0.0',
  securityCounter: 5,
  vendorUuid: 'v',
  classUuid: 'c',
  bodySha256: 'bb',
  imageHash: 'h1',
  size: 100,
  uploadedBy: 'operator:ann',
} as const;
const encrypted = { bits: 128, imageHash: 'h2', bodySha256: 'be', size: 112, contentKeyId: 'k/1', uidBound: false } as const;
const uploaded: ReleaseCommand = { type: 'UploadFirmware', ...upload };
const approve: ReleaseCommand = { type: 'ApproveRelease', by: 'operator:bob' };
const publish: ReleaseCommand = { type: 'PublishRelease', by: 'operator:ann' };
const withdraw: ReleaseCommand = { type: 'WithdrawRelease', reason: 'bug', by: 'operator:ann' };
const sbom: ReleaseCommand = {
  type: 'AttachSbom',
  sha256: 'sb',
  format: 'spdx-json',
  components: [{ name: 'openssl' }],
  by: 'operator:ann',
};
const on = (...commands: readonly ReleaseCommand[]) => scenario(release).given(...play(release, commands).events);

describe('a release', () => {
  it('is uploaded once, with a readable version and a counter the OTP can hold (R59, R90)', () => {
    covers('R59', 'R90');
    on().when(uploaded).givesOnce({ type: 'FirmwareUploaded', data: upload });
    on(uploaded)
      .when({ ...uploaded, bodySha256: 'other' })
      .refused('CONFLICT');
    on()
      .when({ ...uploaded, version: '2' })
      .refused('BAD_REQUEST');
    on()
      .when({ ...uploaded, securityCounter: -1 })
      .refused('BAD_REQUEST');
    on()
      .when({ ...uploaded, securityCounter: 256 })
      .refused('COUNTER_EXHAUSTED');
    on()
      .when({ ...uploaded, image: 'bl2', securityCounter: 64 })
      .refused('COUNTER_EXHAUSTED');
    on().when(approve).refused('NOT_FOUND');
  });

  it('is approved by another person than the uploader, then published (I16)', () => {
    covers('I16');
    on(uploaded)
      .when(approve)
      .givesOnce({ type: 'ReleaseApproved', data: { by: 'operator:bob' } });
    on(uploaded)
      .when({ ...approve, by: 'operator:ann' })
      .refused('FOUR_EYES_REQUIRED');
    on(uploaded).when(publish).refused('RELEASE_STATE');
    on(uploaded, approve)
      .when(publish)
      .givesOnce({ type: 'ReleasePublished', data: { by: 'operator:ann' } });
    on(uploaded, approve, publish).when(approve).gives();
  });

  it('carries a bill of materials, whose components are listed in parts', () => {
    const attached = { type: 'SbomAttached', data: { sha256: 'sb', format: 'spdx-json', by: 'operator:ann' } } as const;
    const listed = { type: 'SbomComponentsListed', data: { sha256: 'sb', components: [{ name: 'openssl' }] } } as const;
    on(uploaded).when(sbom).givesOnce(attached, listed);
    on(uploaded, withdraw).when(sbom).givesOnce(attached, listed);
    const components = Array.from({ length: 450 }, (_, i) => ({ name: `part ${i}` }));
    const parts = release.decide({ ...sbom, components } as ReleaseCommand, play(release, [uploaded]).state).slice(1);
    expect(parts.map(({ data }) => 'components' in data && data.components.length)).toEqual([200, 200, 50]);
  });

  it('is approved again when its bill of materials came or changed after the approval, and not by who attached it (I16)', () => {
    covers('I16');
    const contentOf = (...commands: readonly ReleaseCommand[]) => {
      const { state } = play(release, commands);
      const text = state.status === 'NONE' ? '' : releaseContent(state);
      return { text, sha256: `hash of ${text}` };
    };
    const seen: ReleaseCommand = { ...approve, content: contentOf(uploaded) };
    on(uploaded)
      .when(seen)
      .givesOnce({ type: 'ReleaseApproved', data: { by: 'operator:bob', contentSha256: contentOf(uploaded).sha256 } });
    on(uploaded, sbom).when(seen).refused('CONFLICT');
    on(uploaded, seen, sbom).when(publish).refused('RELEASE_STATE');
    on(uploaded, { ...sbom, by: 'operator:bob' })
      .when(approve)
      .refused('FOUR_EYES_REQUIRED');
    const again: ReleaseCommand = { ...approve, content: contentOf(uploaded, sbom) };
    on(uploaded, seen, sbom, again)
      .when({ ...publish, contentSha256: contentOf(uploaded, sbom).sha256 })
      .givesOnce({ type: 'ReleasePublished', data: { by: 'operator:ann' } });
    on(uploaded, seen, sbom, again)
      .when({ ...publish, contentSha256: contentOf(uploaded).sha256 })
      .refused('FOUR_EYES_REQUIRED');
    const published = play(release, [uploaded, seen, { ...publish, contentSha256: contentOf(uploaded).sha256 }, sbom]).state;
    expect(published.status).toBe('PUBLISHED');
  });

  it('gets its encrypted variant when it is uploaded again after the line began to encrypt; it has to be approved again', () => {
    const again: ReleaseCommand = { ...uploaded, encrypted, uploadedBy: 'operator:eve' };
    on(uploaded)
      .when(again)
      .givesOnce({ type: 'EncryptedVariantAdded', data: { encrypted, by: 'operator:eve' } });
    on(uploaded, approve, again).when(publish).refused('RELEASE_STATE');
    on(uploaded, again).when({ type: 'ApproveRelease', by: 'operator:eve' }).refused('FOUR_EYES_REQUIRED');
    on(uploaded, again).when(uploaded).gives();
    const { state } = play(release, [uploaded, approve, publish, again]);
    if (state.status === 'NONE') throw new Error('no release');
    expect(state.status).toBe('PUBLISHED');
    expect(releaseFacts(state)).toMatchObject({ imageHash: 'h2', bodySha256: 'be', size: 112 });
    expect(releaseContent(state)).not.toBe(releaseContent({ ...state, encrypted: { ...encrypted, bits: 256 } }));
  });

  it('is withdrawn for ever', () => {
    on(uploaded, approve, publish)
      .when(withdraw)
      .givesOnce({ type: 'ReleaseWithdrawn', data: { reason: 'bug', by: 'operator:ann' } });
    on(uploaded, approve, publish, withdraw).when(approve).refused('RELEASE_STATE');
    on(uploaded, approve, publish, withdraw).when(publish).refused('RELEASE_STATE');
  });

  it('gives its facts to jobs and its reference values to attestation', () => {
    const { state } = play(release, [uploaded, approve, publish]);
    if (state.status === 'NONE') throw new Error('no release');
    expect(releaseFacts(state)).toMatchObject({ releaseId: 'r1', line: 'meter', status: 'PUBLISHED' });
    expect(imageHashesOf(upload)).toEqual(['h1']);
    expect(imageHashesOf({ ...upload, encrypted })).toEqual(['h1', 'h2']);
    expect(imageHashesOf({ ...upload, encrypted: { ...encrypted, uidBound: true } })).toEqual(['h1']);
  });
});
