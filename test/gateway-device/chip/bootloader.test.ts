import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BootConfig, type BootDevice, boot } from '../../../gateway-device/chip/bootloader.ts';
import { flashLayout, openFlash, PowerCut } from '../../../gateway-device/chip/flash.ts';
import { openOtp } from '../../../gateway-device/chip/otp.ts';
import { confirmImage, markPending } from '../../../gateway-device/chip/slotTrailer.ts';
import { sha256 } from '../../../src/digest.ts';
import { formatVersion, parseVersion } from '../../../src/domain/version.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import { image, publicKey, readJson } from '../../ota/vectors.ts';
import { covers } from '../../support/covers.ts';
import { bl2Image, layout, makeDevice, signedImage, uid, type Wish, writeSlot } from './bootFixture.ts';
import { memoryStorage, powerFor } from './memory.ts';

const v1 = signedImage('1.0.0', 3);
const v2 = signedImage('2.0.0', 5, { payload: new Uint8Array(2600).fill(0xa5) });

const runs = (device: BootDevice): string => {
  const result = boot(device);
  return result.app ? formatVersion(result.app.version) : `${result.stage}: ${result.reason}`;
};

function offer(device: BootDevice, update: Uint8Array, permanent = false): void {
  writeSlot(device, layout.secondary, update);
  markPending(device.flash, layout, permanent);
}

describe('the boot chain', () => {
  it('boots BL2 and the application and measures both', () => {
    const result = boot(makeDevice(v1).start());
    expect(result).toMatchObject({ stage: 'app', confirmed: true, swapped: 'none', app: { securityCounter: 3 } });
    const digest = (bytes: Uint8Array, bodyBytes: number) => sha256(bytes.subarray(0, bodyBytes));
    const bodyBytes = 32 + 1500 + 52;
    expect(result.measurements.map(m => [m.index, m.name, new Uint8Array(m.digest)])).toEqual([
      [1, 'bl2', digest(bl2Image, bodyBytes)],
      [2, 'application', digest(v1, bodyBytes)],
    ]);
  });

  it('is dead without the boot key in OTP, with another key there, or with a changed BL2', () => {
    covers('RULE-15', 'R112');
    const blank = { ...makeDevice(v1).start(), otp: openOtp(memoryStorage()) };
    expect(boot(blank)).toMatchObject({ stage: 'dead', reason: 'boot-key-not-burned', measurements: [] });
    const otp = openOtp(memoryStorage());
    const point = publicKey('sign-p256').subarray(-64);
    otp.burn(otpMap.bootKeyX.slot, point.subarray(0, 32));
    otp.burn(otpMap.bootKeyY.slot, point.subarray(32));
    expect(boot({ ...makeDevice(v1).start(), otp })).toMatchObject({ stage: 'dead', reason: 'unknown-signing-key' });
    const changed = makeDevice(v1).start();
    changed.flash.program(layout.bl2.offset + 100, Uint8Array.of(0, 0, 0, 0));
    expect(boot(changed)).toMatchObject({ stage: 'dead', reason: 'hash-mismatch' });
  });

  it('waits in BL2 without the application key, without an application, and with one of another key (R49)', () => {
    covers('R49');
    const { start } = makeDevice(undefined);
    expect(boot(start())).toMatchObject({ stage: 'bl2', reason: 'bad-magic' });
    const noKey = makeDevice(v1).start();
    const otp = openOtp(memoryStorage());
    for (const { slot } of [otpMap.bootKeyX, otpMap.bootKeyY]) otp.burn(slot, noKey.otp.read(slot));
    expect(boot({ ...noKey, otp })).toMatchObject({ stage: 'bl2', reason: 'application-key-not-burned', bl2: { securityCounter: 1 } });
    const other = makeDevice(signedImage('1.0.0', 3, { signer: 'other-p256' })).start();
    expect(boot(other)).toMatchObject({ stage: 'bl2', reason: 'unknown-signing-key' });
  });

  it('refuses an older BL2 once a newer one has run', () => {
    const device = makeDevice(v1).start();
    writeSlot(device, layout.bl2, signedImage('1.1.0', 4, { signer: 'other-p256' }));
    expect(boot(device)).toMatchObject({ stage: 'app', bl2: { securityCounter: 4 } });
    writeSlot(device, layout.bl2, bl2Image);
    expect(boot(device)).toMatchObject({ stage: 'dead', reason: 'rollback-security-counter-too-low' });
  });
});

describe('an upgrade', () => {
  it('is tested, confirmed, and raises the counter only at the boot after that (R95, T12)', () => {
    covers('R95', 'T12');
    const device = makeDevice(v1).start();
    boot(device);
    expect(device.otp.counter('application')).toBe(3);
    offer(device, v2);
    expect(boot(device)).toMatchObject({ stage: 'app', swapped: 'test', confirmed: false, app: { securityCounter: 5 } });
    confirmImage(device.flash, layout);
    expect(device.otp.counter('application')).toBe(3);
    expect(boot(device)).toMatchObject({ stage: 'app', swapped: 'none', confirmed: true });
    expect(device.otp.counter('application')).toBe(5);
  });

  it('goes back to the old image when it is not confirmed, and stays there', () => {
    const device = makeDevice(v1).start();
    offer(device, v2);
    expect(runs(device)).toBe('2.0.0');
    expect(boot(device)).toMatchObject({ swapped: 'revert', confirmed: true, app: { version: parseVersion('1.0.0') } });
    expect(runs(device)).toBe('1.0.0');
    expect(device.otp.counter('application')).toBe(3);
  });

  it('can be permanent, and then the counter rises at once', () => {
    const device = makeDevice(v1).start();
    offer(device, v2, true);
    expect(boot(device)).toMatchObject({ swapped: 'permanent', confirmed: true, app: { securityCounter: 5 } });
    expect(device.otp.counter('application')).toBe(5);
    expect(runs(device)).toBe('2.0.0');
  });

  it('overwrites where there is no way back', () => {
    const device = makeDevice(v1, { mode: 'overwrite' }).start();
    offer(device, v2);
    expect(boot(device)).toMatchObject({ swapped: 'permanent', confirmed: true });
    expect(device.otp.counter('application')).toBe(5);
    expect(runs(device)).toBe('2.0.0');
  });

  it('installs the first application from the secondary slot', () => {
    const device = makeDevice(undefined).start();
    offer(device, v1);
    expect(runs(device)).toBe('1.0.0');
  });

  it.each<[string, Uint8Array, string]>([
    ['a lower counter than the device has (T12, I9)', signedImage('9.0.0', 2), 'rollback-security-counter-too-low'],
    ['another class (T13, WRONG_PRODUCT)', signedImage('2.0.0', 5, { classUuid: new Uint8Array(16) }), 'wrong-class'],
    ['another vendor (T13, WRONG_PRODUCT)', signedImage('2.0.0', 5, { vendorUuid: new Uint8Array(16) }), 'wrong-vendor'],
    ['another device (RULE-12)', signedImage('2.0.0', 5, { uidBinding: new Uint8Array(16) }), 'wrong-uid'],
    ['another key', signedImage('2.0.0', 5, { signer: 'other-p256' }), 'unknown-signing-key'],
    ['a counter the OTP cannot hold', signedImage('2.0.0', 256), 'security-counter-exhausted'],
    ['a changed byte', v2.map((byte, at) => (at === 700 ? byte ^ 1 : byte)), 'hash-mismatch'],
    ['an image that reaches into the trailer', signedImage('2.0.0', 5, { payload: new Uint8Array(7500) }), 'tlv-area-invalid'],
  ])('is refused for %s, and the old image runs on', (_, update, refused) => {
    covers('T12', 'I9', 'T13', 'RULE-12', 'T21');
    const device = makeDevice(v1).start();
    boot(device);
    offer(device, update);
    expect(boot(device)).toMatchObject({ stage: 'app', swapped: 'none', refused, app: { securityCounter: 3 } });
    const next = boot(device);
    expect(next).toMatchObject({ stage: 'app', app: { securityCounter: 3 } });
    expect(next.refused).toBeUndefined();
  });

  it('is refused below a confirmed image whose counter has not reached OTP yet (T12)', () => {
    covers('T12');
    const device = makeDevice(v1).start();
    offer(device, v2);
    boot(device);
    confirmImage(device.flash, layout);
    offer(device, v1);
    expect(boot(device)).toMatchObject({ refused: 'rollback-security-counter-too-low', app: { securityCounter: 5 } });
  });

  it('waits while a dependency is not met', () => {
    const needs = (imageId: number, least: string) =>
      signedImage('2.0.0', 5, { dependencies: [{ imageId, minVersion: parseVersion(least) }] });
    const outcome = (update: Uint8Array) => {
      const device = makeDevice(v1).start();
      offer(device, update);
      return boot(device).refused;
    };
    expect(outcome(needs(1, '1.0.0'))).toBeUndefined();
    expect(outcome(needs(1, '1.0.1'))).toBe('dependency-not-met');
    expect(outcome(needs(0, '2.0.0'))).toBeUndefined();
    expect(outcome(needs(0, '2.0.1'))).toBe('dependency-not-met');
    expect(outcome(needs(2, '0.0.1'))).toBe('dependency-not-met');
  });
});

describe('encrypted upgrades', () => {
  const encrypted1 = signedImage('1.0.0', 3, { encryptionBits: 128, factory: true });
  const encrypted2 = signedImage('2.0.0', 5, { encryptionBits: 256, headerBytes: 40 });

  it('are decrypted into the primary slot, and the old image is encrypted on its way out', () => {
    covers('R95');
    const device = makeDevice(encrypted1).start();
    offer(device, encrypted2);
    expect(runs(device)).toBe('2.0.0');
    const payload = createHash('shake256', { outputLength: 1500 }).update('2.0.0').digest();
    expect(Buffer.from(device.flash.read(layout.primary.offset + 40, 1500)).equals(payload)).toBe(true);
    const old = createHash('shake256', { outputLength: 1500 }).update('1.0.0').digest();
    expect(Buffer.from(device.flash.read(layout.secondary.offset, layout.secondary.bytes)).includes(old.subarray(0, 64))).toBe(false);
    expect(runs(device)).toBe('1.0.0');
  });

  it('of another device are refused also where one key decrypts for the whole line (RULE-12)', () => {
    covers('RULE-12');
    const refusedOf = (wish: Wish): string | undefined => {
      const device = makeDevice(encrypted1).start();
      offer(device, signedImage('2.0.0', 5, { encryptionBits: 128, ...wish }));
      return boot(device).refused;
    };
    expect(refusedOf({})).toBeUndefined();
    expect(refusedOf({ uidBinding: uid })).toBeUndefined();
    expect(refusedOf({ signer: 'other-p256' })).toBe('unknown-signing-key');
    expect(refusedOf({ uidBinding: new Uint8Array(16) })).toBe('wrong-uid');
  });

  it('are refused without the device key', () => {
    const { decryption: _, ...rest } = makeDevice(v1).start().config;
    const device = { ...makeDevice(v1).start(), config: rest as BootConfig };
    offer(device, encrypted2);
    expect(boot(device).refused).toBe('encrypted-but-no-enc-key-configured');
  });
});

describe('a power cut', () => {
  const encrypted = signedImage('2.0.0', 5, { encryptionBits: 128, headerBytes: 48 });
  const cases = [
    { name: 'a tested upgrade', update: v2, permanent: false, mode: 'swap' },
    { name: 'a permanent upgrade', update: v2, permanent: true, mode: 'swap' },
    { name: 'an encrypted upgrade', update: encrypted, permanent: false, mode: 'swap' },
    { name: 'an overwriting upgrade', update: v2, permanent: false, mode: 'overwrite' },
  ] as const;

  /** The whole life of an upgrade, as the application and the bootloader live it. @returns true when power held to its end */
  function upgrade(device: BootDevice, update: Uint8Array, permanent: boolean): boolean {
    try {
      offer(device, update, permanent);
      if (boot(device).app?.securityCounter === 5) confirmImage(device.flash, layout);
      boot(device);
      return true;
    } catch (error) {
      if (error instanceof PowerCut) return false;
      throw error;
    }
  }

  it.each(cases)('in any step of $name ends in a device that boots old or new', ({ update, permanent, mode }) => {
    covers('T33');
    let cut = 0;
    for (let whole = false; !whole; cut += 1) {
      const { start } = makeDevice(v1, { mode });
      boot(start());
      whole = upgrade(start(powerFor(cut)), update, permanent);
      const device = start();
      const result = boot(device);
      expect(['1.0.0', '2.0.0']).toContain(result.app ? formatVersion(result.app.version) : `${cut}: ${result.reason}`);
      if (result.swapped === 'test' || result.swapped === 'permanent') expect(result.app?.securityCounter).toBe(5);
      if (result.swapped === 'revert') expect(result.app?.securityCounter).toBe(3);
      expect(device.otp.counter('application')).toBe(result.confirmed ? result.app?.securityCounter : 3);
      expect(upgrade(start(), update, permanent)).toBe(true);
      expect(boot(start())).toMatchObject({ stage: 'app', confirmed: true, app: { securityCounter: 5 } });
    }
    expect(cut).toBeGreaterThan(30);
  });

  it('again and again while it finishes does no harm either', () => {
    covers('T33');
    const cuts = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(...cases), cuts, ({ update, permanent, mode }, operations) => {
        const { start } = makeDevice(v1, { mode });
        offer(start(), update, permanent);
        for (const count of operations) {
          try {
            boot(start(powerFor(count)));
          } catch (error) {
            expect(error).toBeInstanceOf(PowerCut);
          }
        }
        const device = start();
        const before = device.otp.counter('application');
        expect(boot(device).stage).toBe('app');
        expect(device.otp.counter('application')).toBeGreaterThanOrEqual(before);
      }),
      { numRuns: 60 },
    );
  });
});

describe('the virtual bootloader and the real one', () => {
  const verdicts: Record<string, Record<string, string>> = readJson('images/bootloader-verdicts.json');
  const configuration = 'hw-key';
  const cases = Object.entries(verdicts).flatMap(([name, by]) => (by[configuration] ? [{ name, verdict: by[configuration] }] : []));
  const big = flashLayout({ slotBytes: 256 * 1024 });

  it.each(cases)('agree on $name with a key hash in OTP: $verdict', ({ name, verdict }) => {
    const fixture = makeDevice(undefined).start();
    const flash = openFlash(big, memoryStorage());
    flash.program(big.bl2.offset, bl2Image);
    flash.program(big.primary.offset, image(name));
    const result = boot({ flash, layout: big, otp: fixture.otp, config: { mode: 'swap' } });
    const said = result.stage === 'app' ? 'accept' : `reject: ${result.reason}`;
    expect(said).toBe(verdict);
  });
});
