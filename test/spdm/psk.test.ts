import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../../src/bytes.ts';
import { capability, type SpdmVersion } from '../../src/spdm/constants.ts';
import { allAlgorithms } from '../../src/spdm/negotiation.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { createPskSetup } from '../../src/spdm/requester/psk.ts';
import { runPskSetup, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { createSessionSetup } from '../../src/spdm/requester/sessionSetup.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { covers } from '../support/covers.ts';
import { countingRandom, linkTo, realResponder, someNonce, trustLeaf } from './fixtures.ts';

const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
const key = utf8('a key of both sides');
const hint = utf8('hint');
const code = (name: string) => expect.objectContaining({ code: name });

const pskResponder = (pskFlag: number, options: Partial<ResponderOptions> = {}) =>
  realResponder({
    capabilities: { ...sizes, flags: deviceFlags | pskFlag },
    psk: asked => (toHex(asked) === toHex(hint) ? key : undefined),
    onApplicationData: async (_, data) => data,
    ...options,
  });
const setup = (version: SpdmVersion = 0x12) => ({ psk: key, hint, randomBytes: countingRandom('requester'), versions: [version] });

describe('sessions from a pre-shared key (DSP0274 §10.18, §10.19)', () => {
  const versions = [0x11, 0x12, 0x13, 0x14] as const;
  const kinds = [capability.pskSupported, capability.pskWithContext] as const;
  it.each(versions.flatMap(version => kinds.map(kind => [version, kind] as const)))(
    'version %i, responder flag %i: both have the same secrets',
    async (version, kind) => {
      const responder = pskResponder(kind, { versions: [version] });
      const { session } = await runPskSetup(setup(version), linkTo(responder));
      expect(responder.exporterSecret()).toEqual(session.exporterSecret());
      const data = fromHex('7f55');
      expect(session.open((await linkTo(responder)({ kind: 'secured', message: session.seal(data) })).message)).toEqual(data);
    },
  );

  it('PSK_FINISH goes out in chunks to a responder with the smallest transfers', async () => {
    const smallest = { ctExponent: 0, dataTransferBytes: 42, maxMessageBytes: 4096 };
    const algorithms = { ...allAlgorithms, baseHash: 0x2 };
    const flags = deviceFlags | capability.pskWithContext | capability.chunk;
    const responder = pskResponder(0, { versions: [0x14], algorithms, capabilities: { ...smallest, flags } });
    const own = { ...smallest, flags: requesterFlags | capability.pskSupported | capability.chunk };
    const { session } = await runPskSetup({ ...setup(0x14), algorithms, capabilities: own }, linkTo(responder));
    expect(responder.exporterSecret()).toEqual(session.exporterSecret());
  });

  it('fails with another key or hint, on either side, and where there is no PSK', async () => {
    const wrong = { ...setup(), psk: utf8('another key') };
    await expect(runPskSetup(wrong, linkTo(pskResponder(capability.pskWithContext)))).rejects.toEqual(code('SPDM_SIGNATURE'));
    const unknown = { ...setup(), hint: utf8('nobody') };
    await expect(runPskSetup(unknown, linkTo(pskResponder(capability.pskWithContext)))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
    await expect(runPskSetup(setup(), linkTo(pskResponder(0)))).rejects.toEqual(code('SPDM_UNSUPPORTED'));
  });

  it('PSK_FINISH with wrong verify data is answered with DecryptError and ends the handshake', async () => {
    const responder = pskResponder(capability.pskWithContext);
    const flow = createPskSetup(setup());
    let step = flow.start();
    while ('send' in step && step.send.kind === 'clear') step = flow.receive(await linkTo(responder)(step.send));
    if (!('send' in step)) throw new Error('no PSK_FINISH');
    const record = step.send.message.map((byte, i, all) => (i === all.length - 20 ? byte ^ 1 : byte));
    expect(toHex((await linkTo(responder)({ kind: 'secured', message: record })).message)).toBe('127f0600');
    expect(toHex((await linkTo(responder)(step.send)).message)).toBe('127f0200');
  });

  it('PSK_FINISH after KEY_EXCHANGE, and FINISH after PSK_EXCHANGE, end in UnexpectedRequest and no session (CVE-2023-31127, T35)', async () => {
    covers('T35');
    const clearFlag = capability.handshakeInTheClear;
    for (const handshakeFlag of [0, clearFlag]) {
      const responder = pskResponder(capability.pskWithContext | handshakeFlag);
      const flags = deviceFlags | capability.pskSupported | handshakeFlag;
      const flow = createSessionSetup({
        nonce: someNonce,
        trust: trustLeaf,
        randomBytes: countingRandom(),
        capabilities: { ...sizes, flags: flags & ~(capability.measurementsSigned | capability.measurementsFresh) },
      });
      let step = flow.start();
      while ('send' in step && step.send.message[1] !== 0xe4) step = await flow.receive(await linkTo(responder)(step.send));
      if (!('send' in step)) throw new Error('no KEY_EXCHANGE');
      const accepted = await flow.receive(await linkTo(responder)(step.send));
      const pskFinish = concat(fromHex('12e70000'), new Uint8Array(32));
      expect(toHex((await linkTo(responder)({ kind: 'clear', message: pskFinish })).message)).toBe('127f0400');
      if ('send' in accepted) expect((await linkTo(responder)(accepted.send)).message[1]).toBe(0x7f);
      expect(responder.sessionId()).toBeUndefined();
    }
    const responder = pskResponder(capability.pskWithContext);
    const flow = createPskSetup(setup());
    let step = flow.start();
    while ('send' in step && step.send.kind === 'clear') step = flow.receive(await linkTo(responder)(step.send));
    const finish = concat(fromHex('12e50000'), new Uint8Array(32));
    expect(toHex((await linkTo(responder)({ kind: 'clear', message: finish })).message)).toBe('127f0400');
    expect(responder.sessionId()).toBeUndefined();
  });

  it('a second session is refused with SessionLimitExceeded while the first lives', async () => {
    const responder = pskResponder(capability.pskWithContext);
    await runPskSetup(setup(), linkTo(responder));
    const exchange = concat(fromHex('12e6000000000400200000006869'), utf8('nt'), new Uint8Array(32));
    expect(toHex((await linkTo(responder)({ kind: 'clear', message: exchange })).message)).toBe('127f0a00');
    const plain = { nonce: someNonce, trust: trustLeaf, randomBytes: countingRandom() };
    const { session } = await runSessionSetup(plain, linkTo(responder));
    expect(responder.sessionId()).toBe(session.sessionId);
  });
});
