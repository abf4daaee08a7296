import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import { encodeAs } from '../../../src/cbor/schema.ts';
import type { CborValue } from '../../../src/cbor/value.ts';
import { NusecError } from '../../../src/errors.ts';
import type { DevAuthStage } from '../../../src/production/devauth/command.ts';
import { type CommandName, commands } from '../../../src/production/devauth/commands.ts';
import { DevAuthError, type DevAuthReason, devAuthCodes } from '../../../src/production/devauth/error.ts';
import { decodeMessage, encodeMessage } from '../../../src/production/devauth/header.ts';
import { createDevAuthHost, maxRetransmissions, responseTimeoutMs } from '../../../src/production/devauth/host.ts';
import { createDevAuthResponder, type DevAuthHandlers } from '../../../src/production/devauth/responder.ts';
import { covers } from '../../support/covers.ts';
import { names, samples } from './samples.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const reason = (name: DevAuthReason) => expect.objectContaining({ code: 'DEVAUTH_REFUSED', reason: name });

/** Answers every command with its sample and counts what was carried out. */
function device(changes: DevAuthHandlers = {}, stage: DevAuthStage = 'bl2', maxBodyBytes = 4096) {
  const carriedOut: CommandName[] = [];
  const answering = Object.fromEntries(
    names.map(name => [
      name,
      () => {
        carriedOut.push(name);
        return samples[name].response;
      },
    ]),
  ) as DevAuthHandlers;
  const responder = createDevAuthResponder({ ...answering, ...changes }, { stage: () => stage, maxBodyBytes });
  const send = (sealed: boolean) => async (message: Uint8Array) => (await responder.respond(message, sealed)) ?? new Uint8Array();
  return { responder, carriedOut, send, host: createDevAuthHost({ send: send(true) }) };
}

const ask = (name: CommandName, sequence = 0) =>
  encodeMessage({
    op: commands[name].op,
    sequence,
    command: commands[name].id,
    body: encodeAs(commands[name].request as never, samples[name].request as never),
  });
const codeIn = (reply: Uint8Array | undefined) => (decodeCbor(decodeMessage(reply!).body) as Map<number, CborValue>).get(0);

describe('host and responder', () => {
  const stageOf = (name: CommandName): DevAuthStage =>
    name === 'keygen' || name === 'signCri' ? 'devauth' : name === 'attest' ? 'app' : 'bl2';

  it.each(names)('carry out %s', async name => {
    const { host, carriedOut } = device({}, stageOf(name));
    expect(await host.request(name, samples[name].request)).toEqual(samples[name].response);
    expect(carriedOut).toEqual([name]);
  });

  it('count the sequence up and around', async () => {
    const { send } = device();
    const seen: number[] = [];
    const recording = async (message: Uint8Array) => {
      seen.push(decodeMessage(message).sequence);
      return send(true)(message);
    };
    const host = createDevAuthHost({ send: recording, firstSequence: 254 });
    for (let n = 0; n < 3; n += 1) await host.request('hello', samples.hello.request);
    expect(seen).toEqual([254, 255, 0]);
  });

  it('tell each other every refusal by its name (R98)', async () => {
    covers('R98');
    for (const name of Object.keys(devAuthCodes).filter(key => key !== 'ok') as DevAuthReason[]) {
      const { host } = device({
        receipt: () => {
          throw new DevAuthError(name);
        },
      });
      await expect(host.request('receipt', samples.receipt.request)).rejects.toThrow(reason(name));
    }
  });
});

describe('responder', () => {
  it('carries a repeated request out once and gives the same bytes again (R98, T33)', async () => {
    covers('R98', 'T33');
    const { responder, carriedOut } = device();
    const [first, again] = [await responder.respond(ask('lock'), false), await responder.respond(ask('lock'), false)];
    expect(toHex(again!)).toBe(toHex(first!));
    expect(carriedOut).toEqual(['lock']);
    await responder.respond(ask('lock', 1), false);
    expect(carriedOut).toEqual(['lock', 'lock']);
  });

  it('lets repeats wait for the running command and calls everything else busy', async () => {
    let finish = (): void => {};
    const gate = new Promise<void>(resolve => {
      finish = resolve;
    });
    let runs = 0;
    const { responder } = device({
      receipt: async () => {
        runs += 1;
        await gate;
        return samples.receipt.response;
      },
    });
    const running = [responder.respond(ask('receipt'), false), responder.respond(ask('receipt'), false)];
    expect(codeIn(await responder.respond(ask('hello', 1), false))).toBe(14);
    finish();
    const [first, second] = await Promise.all(running);
    expect([codeIn(first), runs]).toEqual([0, 1]);
    expect(second).toEqual(first);
    expect(codeIn(await responder.respond(ask('hello', 1), false))).toBe(0);
  });

  it('never gives a sealed answer to the same bytes in the open', async () => {
    const { responder, carriedOut } = device();
    expect(codeIn(await responder.respond(ask('fwBegin'), true))).toBe(0);
    expect(codeIn(await responder.respond(ask('fwBegin'), false))).toBe(5);
    expect(carriedOut).toEqual(['fwBegin']);
  });

  const stages: readonly DevAuthStage[] = ['devauth', 'bl2', 'app', 'programmer'];
  const open: Readonly<Record<CommandName, readonly DevAuthStage[]>> = {
    hello: stages,
    keygen: ['devauth'],
    signCri: ['devauth'],
    put: ['devauth'],
    otp: ['devauth'],
    fwBegin: [],
    fwChunk: [],
    fwEnd: [],
    lock: ['bl2'],
    receipt: ['devauth', 'bl2', 'app'],
    reset: stages,
    wipe: [],
    debugUnlock: [],
    attest: ['app'],
  };

  it.each(names)('allows %s in the open only where the protocol page says so (RULE-3, RULE-14, T11)', async name => {
    covers('RULE-3', 'RULE-14', 'T11');
    for (const stage of stages) {
      const { responder, carriedOut } = device({}, stage);
      const answered = codeIn(await responder.respond(ask(name), false));
      expect(answered === 0).toBe(open[name].includes(stage));
      expect(carriedOut.length).toBe(open[name].includes(stage) ? 1 : 0);
    }
  });

  it('refuses bad CBOR, bad arguments, unknown commands and too long bodies, and carries nothing out (T27)', async () => {
    covers('T27');
    const { responder, carriedOut } = device({}, 'bl2', 64);
    const send = (op: number, command: number, body: Uint8Array, sequence: number) =>
      responder.respond(encodeMessage({ op, sequence, command, body }), true).then(codeIn);
    expect(await send(0, 0, Uint8Array.of(0xff), 0)).toBe(2);
    expect(await send(0, 0, new Uint8Array(), 1)).toBe(2);
    expect(await send(0, 0, Uint8Array.of(0x81, 0x81, 0x81, 0x81, 0x81, 0), 2)).toBe(2);
    expect(await send(0, 0, encodeCbor(new Map([[1, 2]])), 3)).toBe(4);
    expect(await send(0, 0, encodeCbor([1]), 4)).toBe(4);
    expect(await send(2, 0, decodeMessage(ask('hello')).body, 5)).toBe(4);
    expect(await send(0, 10, encodeCbor(new Map()), 6)).toBe(4);
    expect(await send(0, 0, encodeCbor(new Uint8Array(64)), 7)).toBe(12);
    expect(carriedOut).toEqual([]);
    const missing = createDevAuthResponder({}, { stage: () => 'bl2', maxBodyBytes: 64 });
    expect(codeIn(await missing.respond(ask('hello'), false))).toBe(3);
  });

  it('does not send more than it says it sends', async () => {
    const { responder } = device({}, 'bl2', 100);
    expect(codeIn(await responder.respond(ask('receipt'), false))).toBe(12);
  });

  it('is silent to what is no request', async () => {
    const { responder } = device();
    for (const bytes of [
      new Uint8Array(),
      Uint8Array.of(1, 2, 3),
      encodeMessage({ op: 1, sequence: 0, command: 0, body: encodeCbor(new Map()) }),
    ])
      expect(await responder.respond(bytes, false)).toBeUndefined();
  });

  it.each<[NusecError['code'], DevAuthReason]>([
    ['ORDER_REFUSED', 'unauthenticated'],
    ['COSE_SIGNATURE', 'unauthenticated'],
    ['ROLLBACK', 'rollback'],
    ['DOWNGRADE', 'version'],
    ['CSR_MALFORMED', 'bad-arg'],
    ['STATE', 'policy'],
  ])('tells %s as %s', async (thrown, told) => {
    const { host } = device({
      wipe: () => {
        throw new NusecError(thrown, 'detail');
      },
    });
    await expect(host.request('wipe', samples.wipe.request)).rejects.toThrow(reason(told));
  });

  it('does not hide a fault of the device behind a code', async () => {
    const { responder } = device({
      reset: () => {
        throw new TypeError('fault');
      },
    });
    await expect(responder.respond(ask('reset'), false)).rejects.toThrow(TypeError);
    expect(codeIn(await responder.respond(ask('hello', 1), false))).toBe(0);
  });

  it('answers any bytes with a response, silence or a refusal (T27)', async () => {
    covers('T27');
    const { responder } = device();
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), fc.nat(255), edits, fc.boolean(), async (name, sequence, list, sealed) => {
        const bytes = ask(name, sequence);
        for (const [at, byte] of list) bytes[at % bytes.length] = byte;
        const reply = await responder.respond(bytes, sealed);
        if (reply) expect(Object.values(devAuthCodes)).toContain(codeIn(reply));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('host', () => {
  it('keeps one request outstanding', async () => {
    const { host } = device();
    const first = host.request('hello', samples.hello.request);
    await expect(host.request('receipt', samples.receipt.request)).rejects.toThrow(code('STATE'));
    await first;
    await host.request('receipt', samples.receipt.request);
  });

  it('goes on after a request that failed', async () => {
    const { send } = device();
    let fails = true;
    const host = createDevAuthHost({
      send: async message => {
        if (fails) throw new Error('timeout');
        return send(true)(message);
      },
    });
    await expect(host.request('hello', samples.hello.request)).rejects.toThrow('timeout');
    fails = false;
    expect(await host.request('hello', samples.hello.request)).toEqual(samples.hello.response);
  });

  it('refuses a request that the device could not take', async () => {
    const host = createDevAuthHost({ send: device().send(true), maxBodyBytes: 128 });
    await expect(host.request('fwChunk', samples.fwChunk.request)).rejects.toThrow(reason('too-big'));
    await expect(host.request('signCri', { cri: new Uint8Array(3000) })).rejects.toThrow(code('CBOR_MALFORMED'));
  });

  const helloReply = { op: 1, sequence: 0, command: 0, body: encodeCbor(new Map([[0, 3]])) };

  it.each<[string, Uint8Array, string]>([
    ['another sequence', encodeMessage({ ...helloReply, sequence: 1 }), 'DEVAUTH_MALFORMED'],
    ['another command', encodeMessage({ ...helloReply, command: 9 }), 'DEVAUTH_MALFORMED'],
    ['another op', encodeMessage({ ...helloReply, op: 3 }), 'DEVAUTH_MALFORMED'],
    ['its own request', encodeMessage({ ...helloReply, op: 0 }), 'DEVAUTH_MALFORMED'],
    ['an unknown code', encodeMessage({ ...helloReply, body: encodeCbor(new Map([[0, 6]])) }), 'DEVAUTH_MALFORMED'],
    [
      'a code with more',
      encodeMessage({
        ...helloReply,
        body: encodeCbor(
          new Map([
            [0, 3],
            [1, 0],
          ]),
        ),
      }),
      'DEVAUTH_MALFORMED',
    ],
    ['no code', encodeMessage({ ...helloReply, body: encodeCbor(new Map()) }), 'DEVAUTH_MALFORMED'],
    ['success without fields', encodeMessage({ ...helloReply, body: encodeCbor(new Map([[0, 0]])) }), 'CBOR_MALFORMED'],
    ['nothing', new Uint8Array(), 'DEVAUTH_MALFORMED'],
    ['a refusal', encodeMessage(helloReply), 'DEVAUTH_REFUSED'],
  ])('does not take %s for the answer (T27)', async (_, reply, expected) => {
    covers('T27');
    const host = createDevAuthHost({ send: async () => reply });
    await expect(host.request('hello', samples.hello.request)).rejects.toThrow(code(expected));
  });

  it('allows 500 ms and 12 ms per KiB, and five more attempts', () => {
    expect([responseTimeoutMs(64), responseTimeoutMs(1024), responseTimeoutMs(4097), maxRetransmissions]).toEqual([512, 512, 560, 5]);
  });
});
