import { equalBytes } from '../../bytes.ts';
import { decodeCbor } from '../../cbor/decode.ts';
import type { CborValue } from '../../cbor/value.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { encodeOk, encodeRefusal } from './body.ts';
import type { Access, Command, DevAuthStage } from './command.ts';
import { type CommandName, commandNameOf, commands, type DevAuthRequest, type DevAuthResponse } from './commands.ts';
import { DevAuthError, type DevAuthReason } from './error.ts';
import { type DevAuthMessage, decodeMessage, encodeMessage, maxBodyDepth, ops, responseTo } from './header.ts';

/** What a device does for each command. A command without a handler is answered `bad-state`.
 *  A handler refuses by throwing DevAuthError; other NusecErrors become the code of the table below. */
export type DevAuthHandlers = {
  readonly [N in CommandName]?: (request: DevAuthRequest<N>, access: Access) => DevAuthResponse<N> | Promise<DevAuthResponse<N>>;
};

export type DevAuthResponder = {
  /** Answers one message.
   *  @param sealed whether it came inside an SPDM session
   *  @returns the response, or undefined for what is no request to us (nothing is sent then) */
  respond(message: Uint8Array, sealed: boolean): Promise<Uint8Array | undefined>;
};

type Exchange = { readonly request: Uint8Array; readonly sealed: boolean; readonly reply: Promise<Uint8Array> };

/** How errors of the checks that handlers call are reported to the host. */
const reasons: Partial<Record<ErrorCode, DevAuthReason>> = {
  CBOR_MALFORMED: 'bad-arg',
  DER_MALFORMED: 'bad-arg',
  CSR_MALFORMED: 'bad-arg',
  IMAGE_MALFORMED: 'bad-arg',
  COSE_MALFORMED: 'unauthenticated',
  COSE_SIGNATURE: 'unauthenticated',
  ORDER_REFUSED: 'unauthenticated',
  IMAGE_REFUSED: 'unauthenticated',
  ROLLBACK: 'rollback',
  DOWNGRADE: 'version',
};

/** The answering side: checks form, place and arguments, runs the handler, and answers a repeat of the last request from its cache, so that no
 *  command is executed twice. While a command runs, its repeats wait for the same reply and anything else is `busy`.
 *  @param options.stage the present stage of the device
 *  @param options.maxBodyBytes longest map taken or sent */
export function createDevAuthResponder(
  handlers: DevAuthHandlers,
  options: { readonly stage: () => DevAuthStage; readonly maxBodyBytes: number },
): DevAuthResponder {
  let last: Exchange | undefined;
  let isBusy = false;

  const run = async (request: DevAuthMessage, sealed: boolean): Promise<Uint8Array> => {
    isBusy = true;
    try {
      const body = await answer(handlers, request, { stage: options.stage(), sealed }, options.maxBodyBytes);
      return replyTo(request, body.length > options.maxBodyBytes ? encodeRefusal('too-big') : body);
    } finally {
      isBusy = false;
    }
  };

  return {
    async respond(message, sealed) {
      if (last && last.sealed === sealed && equalBytes(last.request, message)) return last.reply;
      const request = requestIn(message);
      if (!request) return undefined;
      if (isBusy) return replyTo(request, encodeRefusal('busy'));
      last = { request: message.slice(), sealed, reply: run(request, sealed) };
      return last.reply;
    },
  };
}

function requestIn(message: Uint8Array): DevAuthMessage | undefined {
  try {
    const decoded = decodeMessage(message);
    return decoded.op === ops.read || decoded.op === ops.write ? decoded : undefined;
  } catch {
    return undefined;
  }
}

const replyTo = (request: DevAuthMessage, body: Uint8Array): Uint8Array => encodeMessage({ ...request, op: responseTo(request.op), body });

/** @returns the map of the response; errors that are no refusal pass through */
async function answer(handlers: DevAuthHandlers, request: DevAuthMessage, access: Access, maxBodyBytes: number): Promise<Uint8Array> {
  let done: { readonly command: Command<unknown, unknown>; readonly value: unknown };
  try {
    if (request.body.length > maxBodyBytes) throw new DevAuthError('too-big');
    done = await carryOut(handlers, request, wellFormed(request.body), access);
  } catch (error) {
    return encodeRefusal(reasonFor(error));
  }
  return encodeOk(done.command.response, done.value);
}

async function carryOut(handlers: DevAuthHandlers, request: DevAuthMessage, map: CborValue, access: Access) {
  const name = commandNameOf(request.command);
  if (!name || commands[name].op !== request.op) throw new DevAuthError('bad-arg');
  const command = commands[name] as Command<unknown, unknown>;
  const refusal = command.refusal(access);
  if (refusal) throw new DevAuthError(refusal);
  const handler = handlers[name] as ((params: unknown, access: Access) => unknown) | undefined;
  if (!handler) throw new DevAuthError('bad-state');
  return { command, value: await handler(command.request.decode(map, name), access) };
}

function wellFormed(body: Uint8Array): CborValue {
  try {
    return decodeCbor(body, maxBodyDepth);
  } catch {
    throw new DevAuthError('bad-cbor');
  }
}

function reasonFor(error: unknown): DevAuthReason {
  if (error instanceof DevAuthError) return error.reason;
  if (error instanceof NusecError) return reasons[error.code] ?? 'policy';
  throw error;
}
