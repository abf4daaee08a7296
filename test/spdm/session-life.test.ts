import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { capability, type Wire } from '../../src/spdm/constants.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { acceptControl, controlRecord } from '../../src/spdm/requester/sessionControl.ts';
import { deviceFlags } from '../../src/spdm/responder/responder.ts';
import { countingRandom, linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';

const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };

/** A session, with everything that was sent to open it. */
async function opened(extra: number) {
  const responder = realResponder({ capabilities: { ...sizes, flags: deviceFlags | extra }, onApplicationData: async (_, data) => data });
  const sent: Wire[] = [];
  const link = async (wire: Wire): Promise<Wire> => {
    sent.push(wire);
    return linkTo(responder)(wire);
  };
  const options = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom('requester') };
  const { session } = await runSessionSetup({ ...options, capabilities: { ...sizes, flags: requesterFlags | extra } }, link);
  const say = async (wire: Wire) => toHex((await linkTo(responder)(wire)).message);
  return { responder, session, sent, say };
}

describe('the life of a session at the responder (DSP0274 §10.16–10.22, DSP0277 §6)', () => {
  it('a repeated FINISH in the clear is unexpected, and the session goes on', async () => {
    const { responder, session, sent, say } = await opened(capability.handshakeInTheClear);
    expect(await say(sent.at(-1)!)).toBe('127f0400');
    const record = session.seal(Uint8Array.of(0x7f, 1));
    expect(session.open((await linkTo(responder)({ kind: 'secured', message: record })).message)).toEqual(Uint8Array.of(0x7f, 1));
  });

  it('a repeated FINISH record of an encrypted handshake is a record of old keys: the session ends', async () => {
    const { responder, sent, say } = await opened(0);
    expect(await say(sent.at(-1)!)).toBe('127f0600');
    expect(responder.sessionId()).toBeUndefined();
  });

  it('FINISH inside the established session is unexpected', async () => {
    const { responder, session } = await opened(0);
    const record = session.sealSpdm(fromHex(`12e50000${'00'.repeat(32)}`));
    expect(toHex(session.openSpdm((await linkTo(responder)({ kind: 'secured', message: record })).message))).toBe('127f0400');
  });

  it('records after END_SESSION, after GET_VERSION and of another id belong to no session', async () => {
    const { responder, session, say } = await opened(0);
    const other = session.seal(Uint8Array.of(0x7f)).map((byte, i) => (i === 2 ? byte ^ 1 : byte));
    expect(await say({ kind: 'secured', message: other })).toBe('127f0200');
    const next = await opened(0);
    const end = controlRecord(next.session, 'endSession');
    acceptControl(next.session, 'endSession', (await linkTo(next.responder)({ kind: 'secured', message: end })).message);
    expect(await next.say({ kind: 'secured', message: end })).toBe('127f0200');
    await say({ kind: 'clear', message: fromHex('10840000') });
    expect(responder.sessionId()).toBeUndefined();
    expect(toHex((await linkTo(responder)({ kind: 'secured', message: other })).message)).toBe('107f0200');
  });

  it('a sequence that was used, or is not the next one, ends the session', async () => {
    for (const skip of [0, 2]) {
      const { responder, session, say } = await opened(0);
      const first = session.seal(Uint8Array.of(0x7f, 1));
      expect((await linkTo(responder)({ kind: 'secured', message: first })).kind).toBe('secured');
      let again = first;
      for (let i = 0; i < skip; i += 1) again = session.seal(Uint8Array.of(0x7f, 2));
      expect(await say({ kind: 'secured', message: again })).toBe('127f0600');
      expect(responder.sessionId()).toBeUndefined();
    }
  });
});
