import { decodeCertificateChain } from '../certChain.ts';
import { capability, requestCode, slotCount, spdmError } from '../constants.ts';
import { decodeGetCsr, encodeCsr, type GetCsr } from '../messages/csr.ts';
import { decodeSetCertificate, encodeSetCertificateRsp } from '../messages/setCertificate.ts';
import { type Exchange, invalidRequest, negotiated, Refusal, type Reply, type ResponderState } from './state.ts';

/** CSR and SET_CERTIFICATE_RSP (DSP0274 §10.24, §10.25): handed to the keeper of keys and certificates. */

export async function handleGetCsr({ settings, state, request }: Exchange): Promise<Reply> {
  if (!settings.onGetCsr) throw new Refusal(spdmError.unsupportedRequest, requestCode.getCsr);
  const asked = decodeGetCsr(request);
  checkKey(state, asked, true);
  if (asked.overwrite && asked.trackingTag !== 0) throw invalidRequest();
  const csr = await settings.onGetCsr(asked);
  if (csr === 'reset') throw new Refusal(spdmError.resetRequired);
  return { message: encodeCsr(state.version, csr) };
}

export async function handleSetCertificate({ settings, state, request, session }: Exchange): Promise<Reply> {
  if (!settings.onSetCertificate) throw new Refusal(spdmError.unsupportedRequest, requestCode.setCertificate);
  const { chain, ...rest } = decodeSetCertificate(request);
  if (rest.slot >= slotCount) throw invalidRequest();
  checkKey(state, rest, !rest.erase);
  const certificates = rest.erase ? [] : decodeCertificateChain(state.version, negotiated(state).hash, chain).certificates;
  const result = await settings.onSetCertificate({ ...rest, certificates, inSession: session !== undefined });
  if (result === 'refused') throw new Refusal(state.version >= 0x13 ? spdmError.operationFailed : spdmError.unspecified);
  if (result === 'reset' && settings.capabilities.flags & capability.certificateInstallReset)
    throw new Refusal(spdmError.resetRequired, rest.slot);
  return { message: encodeSetCertificateRsp(state.version, rest.slot) };
}

const maxCertificateModel = 3;

/** Since 1.3 a key pair is named, and the model of its certificate unless it is erased, on multi-key connections and only there. */
function checkKey(state: ResponderState, named: Pick<GetCsr, 'keyPairId' | 'certificateModel'>, needsModel: boolean): void {
  const { multiKey } = negotiated(state);
  const hasModel = named.certificateModel > 0 && named.certificateModel <= maxCertificateModel;
  const fits = needsModel && multiKey ? hasModel : named.certificateModel === 0;
  if (!fits || multiKey !== named.keyPairId > 0) throw invalidRequest();
}
