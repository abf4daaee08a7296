import { discoveryVersion, headerBytes, requestCode, spdmError } from '../constants.ts';
import { interruptsTransfer } from './chunks.ts';
import { type Rule, rules } from './rules.ts';
import { type Exchange, type LiveSession, Refusal, type ResponderState, unexpectedRequest } from './state.ts';

/** The parameter phase: length, code, version, state, capability, place; one refusal each. @returns the rule of an admitted request */
export function admit(exchange: Exchange): Rule {
  const { settings, state, request, session } = exchange;
  if (request.length < headerBytes) throw new Refusal(spdmError.invalidRequest);
  if (request.length > settings.capabilities.dataTransferBytes && !exchange.assembled) throw tooLarge(state);
  const code = request[1]!;
  if (interruptsTransfer(state, code)) throw unexpectedRequest();
  const rule = rules[code];
  if (!rule) throw new Refusal(spdmError.unsupportedRequest, code);
  if (code === requestCode.getVersion && request[0] !== discoveryVersion) throw new Refusal(spdmError.versionMismatch);
  checkPhase(exchange, rule);
  if (rule.since > state.version || !isCapable(exchange, rule)) throw new Refusal(spdmError.unsupportedRequest, code);
  checkPlace(exchange, rule);
  if (questionIsOpen(state, session) && !questionCodes.has(code)) throw new Refusal(spdmError.requestInFlight);
  return rule;
}

/** Since CAPABILITIES both sides know the version. */
function checkPhase({ state, request }: Exchange, { phase }: Rule): void {
  if (phase === 'any') return;
  const chosen = state.phase === 'capabilities' || state.phase === 'negotiated';
  const fits = phase === 'chunks' ? chosen : phase === state.phase;
  if (fits && chosen && request[0] !== state.version) throw new Refusal(spdmError.versionMismatch);
  if (!fits) throw unexpectedRequest();
}

function isCapable({ settings, state }: Exchange, rule: Rule): boolean {
  if (rule.capability === 0) return true;
  const peer = rule.both ? (state.requester?.flags ?? 0) : rule.capability;
  return (settings.capabilities.flags & rule.capability & peer) !== 0;
}

/** RequestTooLarge and SessionRequired are codes of 1.2. */
const tooLarge = ({ version }: ResponderState): Refusal =>
  new Refusal(version >= 0x12 ? spdmError.requestTooLarge : spdmError.invalidRequest);
const outsideSession = ({ version }: ResponderState): Refusal =>
  version >= 0x12 ? new Refusal(spdmError.sessionRequired) : unexpectedRequest();

function checkPlace({ state, session, request }: Exchange, rule: Rule): void {
  if (rule.place === 'session' && !session) throw outsideSession(state);
  if (rule.place === 'clear' && session) throw unexpectedRequest();
  if (session?.phase === 'handshake' && !rule.inHandshake) throw unexpectedRequest();
  if (session?.updating && request[1] !== requestCode.keyUpdate) throw unexpectedRequest();
}

/** An encapsulated request waits for its response: nothing else is taken where it was asked. After CHALLENGE_AUTH the requester must ask for it. */
function questionIsOpen({ session: open, questions }: ResponderState, session: LiveSession | undefined): boolean {
  if (questions !== undefined && session === undefined) return true;
  return open?.questions?.asked !== undefined && (open.phase === 'established' || !open.clearHandshake) === (session !== undefined);
}

const questionCodes: ReadonlySet<number> = new Set([
  requestCode.getVersion,
  requestCode.getEncapsulatedRequest,
  requestCode.deliverEncapsulatedResponse,
  requestCode.chunkSend,
  requestCode.chunkGet,
  requestCode.endSession,
]);
