import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { deviceClasses, measurementLog } from '../../src/cli/spdm/inventory.ts';
import { capability, type SpdmVersion } from '../../src/spdm/constants.ts';
import { decodeDeviceClasses } from '../../src/spdm/messages/endpointInfo.ts';
import {
  decodeKeyPairInfo,
  encodeKeyPairInfo,
  encodeSetKeyPairInfo,
  type KeyPair,
  keyPairCapability,
  type SetKeyPairInfo,
} from '../../src/spdm/messages/keyPairInfo.ts';
import { decodeLogEntries } from '../../src/spdm/messages/measurementLog.ts';
import { p256Algorithms } from '../../src/spdm/negotiation.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { defaultIdentifyOptions } from '../../src/spdm/requester/identify.ts';
import { getDeviceClasses, getKeyPairInfo, getMeasurementLog, setKeyPairInfo } from '../../src/spdm/requester/inventory.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { countingRandom, linkTo, realResponder, realSlot, someMeasurements, someNonce, trustLeaf } from './fixtures.ts';

/** Key pairs, device class and measurement extension log (DSP0274 1.3): both roles against each other, and messages byte by byte. */

const pair = (keyPairId: number, changed: Partial<KeyPair> = {}): KeyPair => ({
  keyPairId,
  capabilities: 0,
  usageCapabilities: 0x0f,
  usage: 0x03,
  algorithms: 0x18,
  algorithm: 0x08,
  pqcAlgorithms: 0,
  pqcAlgorithm: 0,
  slotMask: 1 << (keyPairId - 1),
  publicKeyInfo: fromHex('301306072a8648ce3d020106082a8648ce3d030107'),
  ...changed,
});
const wish = (changed: Partial<SetKeyPairInfo>): SetKeyPairInfo => ({
  operation: 'change',
  keyPairId: 1,
  usage: 0,
  algorithm: 0,
  pqcAlgorithm: 0,
  slotMask: 0,
  ...changed,
});

async function inSession(version: SpdmVersion, flags: number, options: Partial<ResponderOptions>) {
  const capabilities = { flags: deviceFlags | flags, ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
  const algorithms = { ...p256Algorithms, mel: 1 };
  const link = linkTo(realResponder({ versions: [version], capabilities, algorithms, ...options }));
  const { session, connection } = await runSessionSetup(
    { ...defaultIdentifyOptions, versions: [version], algorithms, nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom() },
    link,
  );
  return { ask: sessionAsk(session, link), connection };
}

describe('KEY_PAIR_INFO (DSP0274 §10.26)', () => {
  it.each([0x13, 0x14] as const)('version %i has the bytes of the specification', version => {
    const message = encodeKeyPairInfo(version, 2, pair(2, { publicKeyInfo: fromHex('3000') }));
    const head = `${version.toString(16)}7c0000020200000f00030018000000080000000200023000`;
    expect(toHex(message)).toBe(version === 0x13 ? head : `${head}04000000000400000000`);
    expect(decodeKeyPairInfo(message)).toEqual({ ...pair(2, { publicKeyInfo: fromHex('3000') }), total: 2 });
  });

  it('is refused when what is current is not among what can be', () => {
    for (const wrong of [{ usage: 0x10 }, { algorithm: 0x20 }, { algorithm: 0x18 }, { keyPairId: 3 }, { keyPairId: 0 }])
      expect(() => decodeKeyPairInfo(encodeKeyPairInfo(0x13, 2, pair(1, wrong)))).toThrow('KEY_PAIR_INFO: values');
  });

  it.each([0x13, 0x14] as const)('version %i: is read and changed through both roles', async version => {
    let pairs = [pair(1, { capabilities: keyPairCapability.usage }), pair(2)];
    const asking = await inSession(version, capability.keyPairInfo | capability.setKeyPairInfo, {
      keyPairs: () => pairs,
      onSetKeyPairInfo: async ({ keyPairId, usage }) => {
        pairs = pairs.map(one => (one.keyPairId === keyPairId ? { ...one, usage } : one));
        return 'done';
      },
    });
    expect(await getKeyPairInfo(asking, 2)).toEqual({ ...pair(2), total: 2 });
    await setKeyPairInfo(asking, wish({ usage: 0x05, slotMask: 1 }));
    expect(await getKeyPairInfo(asking, 1)).toMatchObject({ usage: 0x05 });
    await expect(getKeyPairInfo(asking, 3)).rejects.toThrow('ERROR 1 (0)');
  });

  it.each<[string, Partial<KeyPair>, Partial<SetKeyPairInfo>, number]>([
    ['to make a key where none can be made', {}, { operation: 'generate' }, 0x01],
    ['to erase what cannot be erased', {}, { operation: 'erase' }, 0x01],
    ['another use', {}, { usage: 1 }, 0x01],
    ['a use that it cannot have', { capabilities: 0x08 }, { usage: 0x10 }, 0x01],
    ['another slot', {}, { slotMask: 4 }, 0x01],
    ['two slots for one that cannot be shared', { capabilities: 0x04 }, { slotMask: 0x5 }, 0x01],
    ['a slot of another key pair', { capabilities: 0x04 }, { slotMask: 2 }, 0x44],
    ['another algorithm for a key that is made', { capabilities: 0x10 }, { algorithm: 0x10 }, 0x01],
    ['to erase a key with certificates', { capabilities: 0x02 }, { operation: 'erase' }, 0x44],
    ['a key without an algorithm', { capabilities: 0x01, algorithm: 0, slotMask: 0 }, { operation: 'generate' }, 0x44],
    ['what is against the policy', { capabilities: 0x08 }, { usage: 1 }, 0x11],
    ['by its policy alone a slot that a key of another algorithm has', { capabilities: 0x04 }, { slotMask: 4 }, 0x11],
  ])('refuses %s', async (_what, changed, asked, code) => {
    const { ask } = await inSession(0x13, capability.keyPairInfo | capability.setKeyPairInfo, {
      keyPairs: () => [pair(1, changed), pair(2), pair(3, { algorithm: 0x10 })],
      onSetKeyPairInfo: async () => 'policy',
    });
    const answer = await ask(encodeSetKeyPairInfo(0x13, wish(asked)));
    expect([answer[1], answer[2]]).toEqual([0x7f, code]);
  });

  it('is no capability of a responder that knows no key pairs', async () => {
    const asking = await inSession(0x13, capability.keyPairInfo | capability.setKeyPairInfo, {});
    await expect(getKeyPairInfo(asking, 1)).rejects.toMatchObject({ code: 'SPDM_UNSUPPORTED' });
    expect((asking.connection.peer?.flags ?? 0) & (capability.keyPairInfo | capability.setKeyPairInfo)).toBe(0);
  });
});

describe('ENDPOINT_INFO (DSP0274 §10.22)', () => {
  const info = deviceClasses();
  it.each([0x13, 0x14] as const)('version %i: says what kind of device it is, signed or not', async version => {
    const asking = await inSession(version, capability.endpointInfoSigned, { endpointInfo: info });
    const [{ registry = 0, vendorId = new Uint8Array(), subordinates = [] } = {}] = await getDeviceClasses(asking);
    expect([registry, toHex(vendorId), subordinates.length]).toEqual([4, 'd97e0000', 1]);
    const leafKey = trustLeaf(realSlot().certificates);
    expect(await getDeviceClasses(asking, { slot: 0, nonce: someNonce, leafKey })).toHaveLength(1);
    const other = trustLeaf(realSlot('ecp384').certificates.slice(0, 1));
    await expect(getDeviceClasses(asking, { slot: 0, nonce: someNonce, leafKey: other })).rejects.toMatchObject({
      code: expect.any(String),
    });
  });

  it('with one bit changed on its way is not of the device', async () => {
    const { ask, connection } = await inSession(0x13, capability.endpointInfoSigned, { endpointInfo: info });
    const bent = async (message: Uint8Array) => {
      const answer = (await ask(message)).slice();
      answer[answer.length - 80]! ^= 1;
      return answer;
    };
    const signed = { slot: 0, nonce: someNonce, leafKey: trustLeaf(realSlot().certificates) };
    await expect(getDeviceClasses({ ask: bent, connection }, signed)).rejects.toMatchObject({
      code: expect.stringMatching(/SPDM_(SIGNATURE|MALFORMED)/),
    });
  });

  it('is read strictly', () => {
    expect(() => decodeDeviceClasses(concat(info, Uint8Array.of(0)))).toThrow('trailing');
    expect(() => decodeDeviceClasses(info.slice(0, -1))).toThrow('too short');
  });
});

describe('MEASUREMENT_EXTENSION_LOG (DSP0274 §10.12)', () => {
  it('comes in portions, and names what was measured', async () => {
    const sources = [...someMeasurements, { index: 20, type: 1, form: 'raw', value: new Uint8Array(3000).fill(7) } as const];
    const log = measurementLog(sources);
    const asking = await inSession(0x13, capability.measurementExtensionLog, { measurementLog: () => log });
    const entries = await getMeasurementLog(asking);
    expect(entries).toEqual(decodeLogEntries(log));
    expect(entries.map(({ measurementIndex, value }) => [measurementIndex, value.length])).toEqual([
      [1, 100],
      [2, 200],
      [16, 8],
      [20, 3000],
    ]);
  });

  it('of a length that it does not have is refused', () => {
    const log = measurementLog(someMeasurements);
    expect(() => decodeLogEntries(log.slice(0, -1))).toThrow('length');
    expect(() => decodeLogEntries(concat(log, Uint8Array.of(0)))).toThrow('length');
  });
});
