import { randomBytes } from 'node:crypto';
import { concat, equalBytes, fromHex, toHex } from '../../src/bytes.ts';
import { encodeAs } from '../../src/cbor/schema.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeResponse } from '../../src/production/devauth/body.ts';
import { type CommandName, commands, type DevAuthRequest, type DevAuthResponse } from '../../src/production/devauth/commands.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import { decodeMessage, encodeMessage, maxBodyDepth, ops, responseTo } from '../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import type { MctpClient } from './mctpLink.ts';

/** Conformance of any device that speaks DevAuth (docs/devauth.md), asked from outside: nothing is burned, written or erased. */

export type CheckResult = {
  readonly name: string;
  /** Where it is laid down. */
  readonly source: string;
  readonly result: 'passed' | 'failed' | 'skipped';
  readonly detail?: string;
};
export type CheckReport = {
  readonly uid: string;
  readonly stage: string;
  readonly results: readonly CheckResult[];
  readonly passed: boolean;
};

/** Refusals by which a device may answer what has no meaning to it. */
const meaningless = ['bad-arg', 'bad-state', 'policy'] as const;

class Failed extends Error {}
class Skipped extends Error {}
const expect = (holds: boolean, detail: string): void => {
  if (!holds) throw new Failed(detail);
};

/** The asking side in the raw: bytes as a device must and must not take them. */
function createProbe(client: MctpClient) {
  let sequence = randomBytes(1)[0] ?? 0;
  const raw = async (message: Uint8Array): Promise<Uint8Array> =>
    decodeVendorMessage(await client.request(encodeVendorMessage(message, { integrityCheck: true }))).message;
  const messageFor = (op: number, command: number, body: Uint8Array): Uint8Array => {
    sequence = (sequence + 1) % 256;
    return encodeMessage({ op, sequence, command, body });
  };
  const ask = async <N extends CommandName>(name: N, params: DevAuthRequest<N>): Promise<DevAuthResponse<N>> => {
    const { op, id, request, response } = commands[name];
    const asked = messageFor(op, id, encodeAs(request as never, params as never, maxBodyDepth));
    const answer = decodeMessage(await raw(asked));
    expect(answer.op === responseTo(op) && answer.command === id, 'the response has another op or command');
    expect(answer.sequence === decodeMessage(asked).sequence, 'the response has another sequence');
    return decodeResponse(response as never, answer.body) as DevAuthResponse<N>;
  };
  /** @returns why the device refuses these bytes */
  const refusal = async (op: number, command: number, body: Uint8Array): Promise<string> => {
    const answer = decodeMessage(await raw(messageFor(op, command, body)));
    try {
      decodeResponse(commands.reset.response as never, answer.body);
    } catch (error) {
      if (error instanceof DevAuthError) return error.reason;
      throw error;
    }
    return 'nothing: it answered ok';
  };
  return { ask, raw, messageFor, refusal };
}
type Probe = ReturnType<typeof createProbe>;
type Hello = DevAuthResponse<'hello'>;

const helloParams = (): DevAuthRequest<'hello'> => ({ version: 1, nonce: new Uint8Array(randomBytes(16)) });
const helloBody = (): Uint8Array => encodeAs(commands.hello.request, helloParams(), maxBodyDepth);
const refusedAs = async (asked: Promise<string>, ...allowed: readonly string[]): Promise<void> => {
  const reason = await asked;
  expect(allowed.includes(reason), `refused with ${reason} instead of ${allowed.join(' or ')}`);
};

type Check = readonly [name: string, source: string, run: (probe: Probe, hello: Hello) => Promise<void>];

const nonces: Check = [
  'two HELLOs show two nonces',
  'devauth.md, HELLO 11',
  async ({ ask }, first) => expect(!equalBytes((await ask('hello', helloParams())).nonce, first.nonce), 'the device repeats its nonce'),
];

const checks: readonly Check[] = [
  ['HELLO: version 1', 'devauth.md, HELLO 1', async (_, { version }) => expect(version === 1, `version ${version}`)],
  [
    'HELLO: a UID that is not blank',
    'devauth.md, HELLO 3',
    async (_, { uid }) =>
      expect(
        uid.some(byte => byte !== 0 && byte !== 0xff),
        toHex(uid),
      ),
  ],
  nonces,
  [
    'a repeat has the same answer',
    'devauth.md, retransmission',
    async ({ raw, messageFor }) => {
      const message = messageFor(ops.read, commands.hello.id, helloBody());
      expect(equalBytes(await raw(message), await raw(message)), 'the command was carried out twice');
    },
  ],
  ['an unknown command is refused', 'devauth.md, codes', ({ refusal }) => refusedAs(refusal(ops.read, 63, fromHex('a0')), ...meaningless)],
  [
    'a known command with another op is refused',
    'devauth.md, header',
    ({ refusal }) => refusedAs(refusal(ops.write, commands.hello.id, helloBody()), ...meaningless),
  ],
  [
    'a missing field is refused',
    'devauth.md, HELLO',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, fromHex('a10101')), 'bad-arg', 'bad-cbor'),
  ],
  [
    'a field that is not known is refused',
    'devauth.md, body',
    ({ refusal }) =>
      refusedAs(
        refusal(ops.read, commands.hello.id, concat(Uint8Array.of(0xa3), helloBody().subarray(1), fromHex('182a01'))),
        'bad-arg',
        'bad-cbor',
      ),
  ],
  [
    'keys out of order are refused',
    'RFC 8949 §4.2.1',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, fromHex(`a20250${'11'.repeat(16)}0101`)), 'bad-cbor', 'bad-arg'),
  ],
  [
    'a key that stands twice is refused',
    'RFC 8949 §5.6',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, fromHex('a201010101')), 'bad-cbor', 'bad-arg'),
  ],
  [
    'a number longer than it needs to be is refused',
    'RFC 8949 §4.2.1',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, fromHex(`a20118010250${'11'.repeat(16)}`)), 'bad-cbor', 'bad-arg'),
  ],
  [
    'bytes after the map are refused',
    'RFC 8949 §4.2',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, concat(helloBody(), Uint8Array.of(0))), 'bad-cbor', 'bad-arg'),
  ],
  [
    'a body that is cut is refused',
    'RFC 8949 §3',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, helloBody().slice(0, -1)), 'bad-cbor', 'bad-arg'),
  ],
  [
    'a map nested too deep is refused',
    'devauth.md, body',
    ({ refusal }) => refusedAs(refusal(ops.read, commands.hello.id, fromHex(`${'a101'.repeat(8)}01`)), 'bad-cbor', 'bad-arg'),
  ],
  [
    'a body longer than HELLO says is refused',
    'devauth.md, HELLO 10',
    async ({ refusal }, { maxBodyBytes }) => {
      if (maxBodyBytes > 0x1000) throw new Skipped(`the device takes ${maxBodyBytes} bytes`);
      await refusedAs(refusal(ops.read, commands.hello.id, new Uint8Array(maxBodyBytes + 1)), 'too-big', 'bad-cbor');
    },
  ],
  [
    'firmware outside a session is refused',
    'devauth.md, FW_BEGIN; T29',
    ({ refusal }) => {
      const wish = {
        image: 2,
        sizeBytes: 16,
        sha256: new Uint8Array(32),
        version: { major: 1, minor: 0, revision: 0, build: 0 },
        securityCounter: 1,
      };
      return refusedAs(
        refusal(ops.write, commands.fwBegin.id, encodeAs(commands.fwBegin.request as never, wish as never, maxBodyDepth)),
        'unauthenticated',
        'bad-state',
      );
    },
  ],
  [
    'a certification request for another UID is not signed',
    'devauth.md, SIGN_CRI; T28',
    async ({ refusal }, { stage }) => {
      const body = encodeAs(commands.signCri.request, { cri: fromHex('300d020100300006002a0230000000') }, maxBodyDepth);
      await refusedAs(
        refusal(ops.write, commands.signCri.id, body),
        'bad-state',
        ...(stage === 'devauth' ? ['policy', 'bad-arg'] : ['unauthenticated']),
      );
    },
  ],
];

/** Asks a device everything above. @throws NusecError when it does not answer HELLO at all */
export async function checkDevAuth(client: MctpClient): Promise<CheckReport> {
  const probe = createProbe(client);
  const hello = await probe.ask('hello', helloParams());
  const results: CheckResult[] = [];
  for (const [name, source, run] of checks) results.push({ name, source, ...(await outcomeOf(run(probe, hello))) });
  return { uid: toHex(hello.uid), stage: hello.stage, results, passed: results.every(({ result }) => result !== 'failed') };
}

async function outcomeOf(run: Promise<void>): Promise<Pick<CheckResult, 'result' | 'detail'>> {
  try {
    await run;
    return { result: 'passed' };
  } catch (error) {
    if (error instanceof Skipped) return { result: 'skipped', detail: error.message };
    if (error instanceof Failed) return { result: 'failed', detail: error.message };
    if (error instanceof NusecError) return { result: 'failed', detail: `${error.code}: ${error.message}` };
    throw error;
  }
}
