import { requestCode, spdmError } from '../constants.ts';
import { decodeVendorRequest, encodeVendorResponse } from '../messages/vendorDefined.ts';
import { type Exchange, Refusal, type Reply } from './state.ts';

/** VENDOR_DEFINED_RESPONSE (DSP0274 §10.23): handed to the function of the application. */
export async function handleVendorDefined({ settings, state, request, session }: Exchange): Promise<Reply> {
  if (!settings.onVendorDefined) throw new Refusal(spdmError.unsupportedRequest, requestCode.vendorDefined);
  const response = await settings.onVendorDefined(decodeVendorRequest(request), session?.keys.sessionId);
  return { message: encodeVendorResponse(state.version, response) };
}
