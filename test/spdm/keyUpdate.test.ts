import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { trafficKey, updatedSecret } from '../../src/spdm/keySchedule.ts';
import { keyUpdateOperation } from '../../src/spdm/messages/keyUpdate.ts';
import { acceptKeyUpdate, keyUpdateRecord } from '../../src/spdm/requester/keyUpdate.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { createSession, type SessionEnd } from '../../src/spdm/session.ts';
import { aeads, hashAlgorithms } from '../../src/spdm/suite.ts';
import { countingRandom, linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';
import { loadRecording, secretsOf } from './recording.ts';

const name = 'd-spdm12-p256-session-mutauth-mctp-app';
const context = { version: 0x12, hash: hashAlgorithms[0]! };
const { updateKey, updateAllKeys, verifyNewKey } = keyUpdateOperation;

async function openSession() {
  const responder = realResponder({ onApplicationData: async (_, data) => data });
  const { session } = await runSessionSetup({ nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom() }, linkTo(responder));
  const secured = async (message: Uint8Array): Promise<Uint8Array> => (await linkTo(responder)({ kind: 'secured', message })).message;
  return { session, responder, secured };
}

describe('KEY_UPDATE (DSP0274 §10.21)', () => {
  it('derives the recorded new keys, and reads a recorded session through two updates over MCTP', () => {
    const recording = loadRecording(name);
    const [request] = secretsOf(recording, 'request_data_secret');
    const [response] = secretsOf(recording, 'response_data_secret');
    const newKeys = [response!, request!].map(secret => toHex(trafficKey(context, aeads[0]!, updatedSecret(context, secret)).key));
    expect(newKeys).toEqual(secretsOf(recording, 'key').slice(4, 6).map(toHex));

    const settings = {
      ...context,
      aead: aeads[0]!,
      binding: 'mctp',
      sessionId: 0xffffffff,
      randomBytes: countingRandom(),
      maxRecords: 2 ** 24,
    } as const;
    const secrets = { request: request!, response: response! };
    const device: SessionEnd = createSession({ ...settings, role: 'responder' }, secrets);
    const host: SessionEnd = createSession({ ...settings, role: 'requester' }, secrets);
    const records = recording.exchanges.filter(exchange => exchange.name === 'secured').slice(0, 5);
    const plain = records.map(exchange => {
      const asked = device.openAny(exchange.request.message).data;
      if (asked[1] === 0xe9 && asked[2] === updateAllKeys) for (const end of [device, host]) end.rotate('both');
      return [asked, host.openAny(exchange.response.message).data].map(toHex);
    });
    expect(plain).toEqual([
      ['01800002', '010000020001'],
      ['12e80000', '12680000'],
      ['12e90296', '12690296'],
      ['12e9034a', '1269034a'],
      ['12ec0100', '126c0000'],
    ]);
  });

  it.each([
    ['of the requests', updateKey],
    ['of both directions', updateAllKeys],
  ])('changes the keys %s, and the session goes on', async (_, operation) => {
    const { session, secured } = await openSession();
    const data = fromHex('7f01');
    for (let round = 0; round < 3; round += 1) {
      for (const update of [
        { operation, tag: round },
        { operation: verifyNewKey, tag: 100 + round },
      ]) {
        acceptKeyUpdate(session, update, await secured(keyUpdateRecord(session, update)));
      }
      expect(session.open(await secured(session.seal(data)))).toEqual(data);
    }
  });

  it('admits nothing before the new key is proved, no proof without an update, and no unknown operation', async () => {
    const ask = async (opened: Awaited<ReturnType<typeof openSession>>, hex: string) =>
      toHex(opened.session.openSpdm(await opened.secured(opened.session.sealSpdm(fromHex(hex)))));
    const opened = await openSession();
    expect(await ask(opened, '12e90301')).toBe('127f0100');
    expect(await ask(opened, '12e90401')).toBe('127f0100');
    const update = { operation: updateAllKeys, tag: 1 };
    acceptKeyUpdate(opened.session, update, await opened.secured(keyUpdateRecord(opened.session, update)));
    expect(await ask(opened, '12e80000')).toBe('127f0400');
    expect(await ask(opened, '12e90201')).toBe('127f0100');
    expect(toHex(opened.session.openSpdm(await opened.secured(opened.session.seal(fromHex('7f01')))))).toBe('127f0400');
    expect(await ask(opened, '12e90301')).toBe('12690301');
    expect(await ask(opened, '12e80000')).toBe('12680000');
  });

  it('refuses the acknowledgement of another update', async () => {
    const { session, secured } = await openSession();
    const record = await secured(keyUpdateRecord(session, { operation: updateAllKeys, tag: 1 }));
    expect(() => acceptKeyUpdate(session, { operation: updateAllKeys, tag: 2 }, record)).toThrow(
      expect.objectContaining({ code: 'SPDM_UNEXPECTED' }),
    );
  });
});
