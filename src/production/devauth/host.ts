import { encodeAs } from '../../cbor/schema.ts';
import { NusecError } from '../../errors.ts';
import { decodeResponse } from './body.ts';
import type { Command } from './command.ts';
import { type CommandName, commands, type DevAuthRequest, type DevAuthResponse } from './commands.ts';
import { DevAuthError, devAuthMalformed } from './error.ts';
import { decodeMessage, encodeMessage, maxBodyDepth, responseTo } from './header.ts';

/** Times for the sender: the same bytes again after the time-out, at most five times; then the device counts as silent. */
export const maxRetransmissions = 5;
export const responseTimeoutMs = (messageBytes: number): number => 500 + 12 * Math.ceil(messageBytes / 1024);

export type DevAuthHost = {
  /** Sends one command and waits for its response.
   *  @throws DevAuthError (code DEVAUTH_REFUSED, with the device's `reason`), NusecError DEVAUTH_MALFORMED or CBOR_MALFORMED (an answer that
   *    is none), STATE (another request is outstanding), CBOR_MALFORMED (the request does not keep its limits), whatever `send` throws */
  request<N extends CommandName>(name: N, params: DevAuthRequest<N>): Promise<DevAuthResponse<N>>;
};

/** The asking side: numbers the requests, keeps one outstanding, matches the response.
 *  @param options.send gives back the response to these bytes; it retransmits on its own (the responder answers repeats from its cache)
 *  @param options.maxBodyBytes what the device takes (HELLO); a longer request is refused here as `too-big`
 *  @param options.firstSequence sequence of the first request, 0–255 */
export function createDevAuthHost(options: {
  readonly send: (message: Uint8Array) => Promise<Uint8Array>;
  readonly maxBodyBytes?: number;
  readonly firstSequence?: number;
}): DevAuthHost {
  let sequence = options.firstSequence ?? 0;
  let isBusy = false;
  return {
    async request(name, params) {
      if (isBusy) throw new NusecError('STATE', 'a DevAuth request is outstanding');
      const command = commandOf(name);
      const body = encodeAs(command.request, params, maxBodyDepth);
      if (body.length > (options.maxBodyBytes ?? Number.POSITIVE_INFINITY)) throw new DevAuthError('too-big');
      isBusy = true;
      try {
        return await exchange(command, sequence, body, options.send);
      } finally {
        isBusy = false;
        sequence = (sequence + 1) % 256;
      }
    },
  };
}

async function exchange<Q, A>(
  command: Command<Q, A>,
  sequence: number,
  body: Uint8Array,
  send: (message: Uint8Array) => Promise<Uint8Array>,
): Promise<A> {
  const answer = decodeMessage(await send(encodeMessage({ op: command.op, sequence, command: command.id, body })));
  if (answer.op !== responseTo(command.op) || answer.sequence !== sequence || answer.command !== command.id) {
    throw devAuthMalformed('the response answers another request');
  }
  return decodeResponse(command.response, answer.body);
}

/** The table entry with its two types tied to the name. */
const commandOf = <N extends CommandName>(name: N) => commands[name] as unknown as Command<DevAuthRequest<N>, DevAuthResponse<N>>;
