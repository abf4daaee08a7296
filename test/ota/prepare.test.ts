import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { parseVersion } from '../../src/domain/version.ts';
import { attachTrailer, buildImage } from '../../src/ota/build.ts';
import { parseBody } from '../../src/ota/image.ts';
import { prepareRelease, reopenImage } from '../../src/ota/prepare.ts';
import { specOf } from '../../src/ota/spec.ts';
import { findTlv, tlvMagic, tlvType, writeTlvArea } from '../../src/ota/tlv.ts';
import { covers } from '../support/covers.ts';
import { parseImage } from './parseImage.ts';
import { image, vector } from './vectors.ts';

const six = image('06-p256-bootrecord-uuid-custom.bin');
const uuid = (type: number) => findTlv(parseImage(six).protectedTlvs, type) ?? new Uint8Array(0);
const line = { vendorUuid: uuid(tlvType.vendorUuid), classUuid: uuid(tlvType.classUuid) };
const raw = vector('payload/app-v2.bin');

describe('prepareRelease', () => {
  it('builds a body from a raw binary, with version, counter and the line inside (T13)', () => {
    covers('T13');
    const release = prepareRelease(raw, { ...line, version: parseVersion('2.3.4+5'), securityCounter: 7, loadAddress: 0x10000 });
    expect(release.info).toMatchObject({
      versionText: '2.3.4+5',
      securityCounter: 7,
      payloadBytes: raw.length,
      headerBytes: 0x200,
      keptUpload: false,
    });
    expect(release.digestHex).toBe(toHex(sha256(release.body)));
    expect(specOf(release.body)).toMatchObject({ romAddress: 0x10000 });
    const { protectedTlvs } = parseBody(release.body);
    expect(findTlv(protectedTlvs, tlvType.vendorUuid)).toEqual(line.vendorUuid);
    expect(findTlv(protectedTlvs, tlvType.classUuid)).toEqual(line.classUuid);
  });

  it('keeps the hashed bytes of an uploaded image that fits the line, without its signature', () => {
    const release = prepareRelease(six, line);
    expect(release.info).toMatchObject({ versionText: '2.0.0', securityCounter: 5, keptUpload: true });
    expect(Buffer.compare(release.body, six.subarray(0, release.body.length))).toBe(0);
    expect(release.digestHex).toBe(toHex(findTlv(parseImage(six).tlvs, tlvType.sha256) ?? new Uint8Array(0)));
  });

  it.each([
    ['another counter', { securityCounter: 6 }],
    ['another version', { version: parseVersion('2.0.1') }],
    ['another header length', { headerBytes: 0x400 }],
  ])('rebuilds an uploaded image for %s and keeps payload and vendor TLVs', (_, wish) => {
    const release = prepareRelease(six, { ...line, ...wish });
    const { payload, protectedTlvs } = parseBody(release.body);
    expect(release.info.keptUpload).toBe(false);
    expect(Buffer.compare(payload, raw)).toBe(0);
    expect(findTlv(protectedTlvs, 0xa1)).toEqual(new TextEncoder().encode('nusec'));
  });

  it('drops the boot record of another version', () => {
    const release = prepareRelease(six, { ...line, version: parseVersion('9.0.0') });
    expect(findTlv(parseBody(release.body).protectedTlvs, tlvType.bootRecord)).toBeUndefined();
  });

  it('refuses an image that names another vendor or class, instead of rewriting it (T13)', () => {
    covers('T13');
    const other = new Uint8Array(16).fill(7);
    for (const wish of [
      { ...line, vendorUuid: other },
      { ...line, classUuid: other },
    ])
      expect(() => prepareRelease(six, wish)).toThrow(expect.objectContaining({ code: 'WRONG_PRODUCT' }));
  });

  it('drops a UID binding or a TLV that it does not know only on the caller’s word, and names it', () => {
    const built = buildImage({ ...specOf(six.subarray(0, 512 + 20000 + 164)), uidBinding: new Uint8Array(16) });
    const hash = writeTlvArea(tlvMagic.unprotected, [{ type: tlvType.sha256, value: built.imageHash }]);
    const bound = attachTrailer(built.body, hash);
    const refused = expect.objectContaining({ code: 'IMAGE_REFUSED', message: expect.stringContaining('uid-binding') });
    expect(() => prepareRelease(bound, line)).toThrow(refused);
    const { body, info } = prepareRelease(bound, { ...line, drop: true });
    expect(info).toMatchObject({ keptUpload: false, dropped: ['uid-binding'], added: [] });
    expect(findTlv(parseBody(body).protectedTlvs, tlvType.uidBinding)).toBeUndefined();
  });

  it('says what it has added', () => {
    const release = prepareRelease(image('02-p256-v2.0.0-seccnt5.bin'), line);
    expect(release.info).toMatchObject({ keptUpload: false, dropped: [], added: ['0x74', '0x75'], replaced: [] });
  });

  it('says what the image said and the caller has replaced', () => {
    const wish = { ...line, version: parseVersion('3.0.0'), securityCounter: 1, headerBytes: 1024 };
    const { info } = prepareRelease(image('05-p256-deps-seccnt5.bin'), { ...wish, dependencies: [], drop: true });
    const said = ['version 2.0.0', 'security counter 5', 'image 1 from 1.5.0 on', 'image 0 from 1.0.0+3 on', 'header of 512 bytes'];
    expect(info.replaced).toEqual(said);
  });

  it.each([
    ['mutated/02-payload-bit-rehashed.bin', undefined],
    ['mutated/04-header-padding-bit.bin', 'hash-mismatch'],
    ['mutated/10-hash-removed.bin', 'hash-tlv-missing'],
    ['mutated/14-truncated-in-signature.bin', 'tlv-read-beyond-slot'],
    ['mutated/16-unprotected-seccnt-added.bin', 'tlv-not-allowed-in-unprotected-area'],
    ['mutated/20-img-size-overflow.bin', 'header-invalid'],
    ['mutated/22-tlv-info-magic.bin', 'tlv-area-invalid'],
    ['images/07-p256-enc-aes128.bin', 'encrypted-but-no-enc-key-configured'],
    ['images/22-p256-lzma2.bin', 'compressed-not-supported'],
  ])('%s: %s', (path, reason) => {
    if (reason === undefined) expect(reopenImage(vector(path)).length).toBeGreaterThan(0);
    else expect(() => prepareRelease(vector(path), line)).toThrow(expect.objectContaining({ code: 'IMAGE_REFUSED', message: reason }));
  });

  it('does not take the stump of an image for a raw binary', () => {
    const wish = { ...line, version: parseVersion('1.0.0'), securityCounter: 1 };
    for (const length of [4, 31, 600]) {
      expect(() => prepareRelease(six.subarray(0, length), wish)).toThrow(expect.objectContaining({ code: 'IMAGE_REFUSED' }));
    }
  });

  it('refuses a raw binary without version or counter, an empty and an oversized upload', () => {
    const refused = expect.objectContaining({ code: 'IMAGE_REFUSED' });
    expect(() => prepareRelease(raw, line)).toThrow(refused);
    expect(() => prepareRelease(new Uint8Array(0), { ...line, version: parseVersion('1.0.0'), securityCounter: 1 })).toThrow(refused);
    for (const bytes of [1, 7])
      expect(() => prepareRelease(new Uint8Array(bytes), { ...line, version: parseVersion('1.0.0'), securityCounter: 1 })).toThrow(refused);
    expect(() => prepareRelease(new Uint8Array(17 * 1024 * 1024), { ...line, version: parseVersion('1.0.0'), securityCounter: 1 })).toThrow(
      refused,
    );
  });
});
