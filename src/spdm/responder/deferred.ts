import { requestCode, spdmError } from '../constants.ts';
import { encodeNotReady } from '../messages/error.ts';
import { decodeRespondIfReady } from '../messages/respondIfReady.ts';
import { type Deferred, type Exchange, invalidRequest, Refusal, type Reply, unexpectedRequest } from './state.ts';

/** Requests that take longer than the peer should wait (DSP0274 §10.11, §10.12): ResponseNotReady immediately, the response by RESPOND_IF_READY. */

const rdtMultiplier = 8;

/** Starts the work and answers ResponseNotReady. @param work gives the reply, or the ERROR that replaces it */
export function defer({ settings, state, request, session }: Exchange, work: () => Promise<Reply>): Reply {
  const code = request[1]!;
  const token = ((state.deferred?.token ?? 0) + 1) & 0xff;
  const done = work().then(reply => {
    deferred.reply = reply;
  });
  const deferred: Deferred = { code, token, session, work: done };
  state.deferred = deferred;
  return { message: encodeNotReady(state.version, { rdtExponent: settings.rdtExponent, requestCode: code, token, rdtMultiplier }) };
}

/** Whether `resume` has to do with a request. */
export const resumes = ({ state, request }: Exchange): boolean => state.deferred !== undefined || request[1] === requestCode.respondIfReady;

/** While something is deferred nothing else is worked on, but for a new connection, which waits for the end of that work.
 *  @returns the reply to RESPOND_IF_READY, or undefined when nothing is deferred @throws Refusal Busy, InvalidRequest */
export async function resume(exchange: Exchange): Promise<Reply | undefined> {
  const { settings, state, request, session } = exchange;
  const { deferred } = state;
  const asks = request[1] === requestCode.respondIfReady;
  if (!deferred) {
    if (asks) throw settings.defers ? unexpectedRequest() : new Refusal(spdmError.unsupportedRequest, requestCode.respondIfReady);
    return undefined;
  }
  if (request[1] === requestCode.getVersion && !session) {
    await deferred.work;
    state.deferred = undefined;
    return undefined;
  }
  if (!asks) throw new Refusal(spdmError.busy);
  if (request[0] !== state.version) throw new Refusal(spdmError.versionMismatch);
  const { originalCode, token } = decodeRespondIfReady(request);
  if (originalCode !== deferred.code || token !== deferred.token || session !== deferred.session) throw invalidRequest();
  if (!deferred.reply) {
    const { code: requestCode } = deferred;
    return { message: encodeNotReady(state.version, { rdtExponent: settings.rdtExponent, requestCode, token, rdtMultiplier }) };
  }
  state.deferred = undefined;
  return deferred.reply;
}
