import { type SpdmVersion, spdmError } from '../constants.ts';
import { decodeNegotiateAlgorithms, encodeAlgorithms } from '../messages/algorithms.ts';
import { capabilitiesFor, contradicts, decodeGetCapabilities, encodeCapabilities } from '../messages/capabilities.ts';
import { decodeGetVersion, encodeVersion } from '../messages/version.ts';
import { resolveAlgorithms, selectAlgorithms } from '../negotiation.ts';
import { emptyTranscript, withVca } from '../transcript.ts';
import { type Exchange, endSession, invalidRequest, Refusal, type Reply } from './state.ts';

/** VERSION, CAPABILITIES, ALGORITHMS (DSP0274 §10.2–10.4). */

/** GET_VERSION starts the connection anew and ends its session (DSP0274 §10.2). */
export function handleGetVersion({ settings, state, request }: Exchange): Reply {
  decodeGetVersion(request);
  endSession(state);
  for (const field of ['algorithms', 'requester', 'incoming', 'outgoing', 'deferred'] as const) delete state[field];
  const message = encodeVersion(settings.versions);
  state.transcript = withVca(emptyTranscript, request, message);
  state.phase = 'version';
  return { message };
}

/** The version byte of GET_CAPABILITIES is the version chosen by the requester. */
export function handleGetCapabilities({ settings, state, request }: Exchange): Reply {
  const version = settings.versions.find(own => own === request[0]) as SpdmVersion | undefined;
  if (!version) throw new Refusal(spdmError.versionMismatch);
  const requester = decodeGetCapabilities(request);
  state.version = version;
  if (contradicts(version, requester)) throw invalidRequest();
  state.requester = requester;
  const message = encodeCapabilities(version, capabilitiesFor(version, settings.capabilities));
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'capabilities';
  return { message };
}

export function handleNegotiateAlgorithms({ settings, state, request }: Exchange): Reply {
  if (!state.requester) throw invalidRequest();
  const offer = decodeNegotiateAlgorithms(request);
  const requester = state.requester.flags;
  const responder = capabilitiesFor(state.version, settings.capabilities).flags;
  const selected = selectAlgorithms(state.version, offer, settings.algorithms, requester, responder);
  state.algorithms = resolveAlgorithms(offer, selected, requester, responder);
  const message = encodeAlgorithms(state.version, selected, offer.structures);
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'negotiated';
  return { message };
}
