import { NusecError } from '../../src/errors.ts';
import { imageStateValue, measurementIndex, otpCounterValue, secureVersionValue } from '../../src/ota/measurementIndex.ts';
import { checkChain } from '../../src/pki/chain.ts';
import type { DevAuthResponder } from '../../src/production/devauth/responder.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { pooledRandom } from '../../src/random.ts';
import { capability, messageType } from '../../src/spdm/constants.ts';
import { type MeasurementSource, measurementType } from '../../src/spdm/measurement.ts';
import { createResponder, deviceFlags, type Responder, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import type { CertSlot } from '../../src/spdm/responder/state.ts';
import { decodeTyped, encodeTyped } from '../../src/spdm/transport/mqtt.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { Stage, StageContext } from './board.ts';
import { hardwareState } from './hardwareState.ts';
import { authKeySlot } from './keyStore.ts';
import { identityChain } from './nextGeneration.ts';
import { trustOf } from './trust.ts';

/** Who gets a message of the serial link: DevAuth in the open, or SPDM; inside a session DevAuth again. */

const vendorType = 0x7f;
const typeMask = 0x7f;
/** DataTransferSize of a target, bytes. */
const dataTransferBytes = 4096;

export function messageHandler(ports: { readonly devAuth?: DevAuthResponder; readonly spdm?: Responder }): Stage['handle'] {
  return async message => {
    const type = (message[0] ?? 0) & typeMask;
    if (type === vendorType) return ports.devAuth && answerOpen(ports.devAuth, message);
    const isSpdm = message[0] === messageType.spdm || message[0] === messageType.secured;
    if (!isSpdm || !ports.spdm || message.length < 2) return undefined;
    const answer = await ports.spdm.handle(decodeTyped(message));
    return answer && encodeTyped(answer);
  };
}

/** In the open a message must carry its CRC-32C; what is damaged is not answered, as if it had been lost. */
async function answerOpen(devAuth: DevAuthResponder, bytes: Uint8Array): Promise<Uint8Array | undefined> {
  const message = openMessage(bytes);
  const answer = message && (await devAuth.respond(message, false));
  return answer && encodeVendorMessage(answer, { integrityCheck: true });
}

function openMessage(bytes: Uint8Array): Uint8Array | undefined {
  try {
    const { message, integrityCheck } = decodeVendorMessage(bytes);
    return integrityCheck ? message : undefined;
  } catch {
    return undefined;
  }
}

/** Who answers DevAuth inside sessions, by the machine at the other end. */
export type SealedDevAuth = { readonly programmer: DevAuthResponder; readonly gateway?: DevAuthResponder };

/** The SPDM responder of a chip: certificate slot 0 = root ‖ ICA ‖ device certificate from flash, signatures by the KeyStore,
 *  measurements by the boot chain. @param sealed  only machines that it names open sessions (R51) */
export function spdmResponder({ chip, boot, tell, spdm = ours => ours }: StageContext, sealed?: SealedDevAuth): Responder {
  const slot = certificateSlot(chip);
  let peer: Peer = 'programmer';
  const meet = (next: Peer): void => {
    peer = next;
  };
  const ours: ResponderOptions = {
    slots: slot ? [slot] : [],
    ...(sealed && knownMachines(chip, sealed.gateway ? ['programmer', 'gateway'] : ['programmer'], meet)),
    randomBytes: pooledRandom(),
    measurements: () => measurements(chip, boot),
    onFault: error => tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' }),
    ...(sealed && {
      onApplicationData: async (_, data: Uint8Array) => {
        const answer = await sealed[peer]?.respond(decodeVendorMessage(data).message, true);
        chip.sync();
        return answer && encodeVendorMessage(answer, { integrityCheck: false });
      },
    }),
  };
  return createResponder(spdm(ours));
}

type Peer = keyof SealedDevAuth;

/** Mutual authentication: the requester shows the certificate of such a machine under a root that the device trusts, and signs FINISH with its key.
 *  There is one session at a time, and so one peer. */
function knownMachines(
  chip: StageContext['chip'],
  peers: readonly Peer[],
  meet: (peer: Peer) => void,
): Pick<ResponderOptions, 'capabilities' | 'mutualAuthentication'> {
  const flags = deviceFlags | capability.mutualAuthentication | capability.encapsulated;
  const trust = async (certificates: readonly Uint8Array[]): Promise<Uint8Array> => {
    if (chip.otp.slot(otpMap.rootCaHash.slot) !== 'burned') throw new NusecError('CHAIN_REFUSED', 'no root is burned yet');
    const { roots, bundle } = await trustOf(chip);
    const [leaf, ica] = certificates.toReversed();
    if (!leaf || !ica) throw new NusecError('CHAIN_REFUSED', 'a machine shows its certificate and its issuer');
    const judge = (purpose: Peer) => checkChain([leaf, ica], { roots, now: undefined, purpose, recorded: recordedIn(bundle) });
    for (const purpose of peers) {
      try {
        const { point } = judge(purpose);
        if (!point) throw new NusecError('CHAIN_REFUSED', 'the machine has no P-256 key');
        meet(purpose);
        return point;
      } catch (error) {
        if (!(error instanceof NusecError) || purpose === peers.at(-1)) throw error;
      }
    }
    throw new NusecError('CHAIN_REFUSED', 'no machine opens sessions here');
  };
  return {
    capabilities: { flags, ctExponent: 0, dataTransferBytes, maxMessageBytes: dataTransferBytes },
    mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust },
  };
}

/** @returns undefined while certificates or key are missing */
function certificateSlot(chip: StageContext['chip']): CertSlot | undefined {
  const { keyStore } = chip;
  const certificates = identityChain(chip);
  if (!certificates || !keyStore.publicKey(authKeySlot)) return undefined;
  return { certificates, sign: (input, hash) => keyStore.sign(authKeySlot, input, hash) };
}

function measurements(chip: StageContext['chip'], boot: StageContext['boot']): readonly MeasurementSource[] {
  const hashes = boot.measurements.map(
    ({ index, digest }): MeasurementSource => ({ index, type: measurementType.mutableFirmware, form: 'digest', value: digest, tcb: true }),
  );
  const { secureVersionNumber, hardwareConfig } = measurementType;
  const version: MeasurementSource | undefined = boot.app && {
    index: measurementIndex.secureVersion,
    type: secureVersionNumber,
    form: 'raw',
    value: secureVersionValue(boot.app.version, boot.app.securityCounter),
  };
  const state: MeasurementSource = {
    index: measurementIndex.hardwareState,
    type: hardwareConfig,
    form: 'either',
    value: hardwareState(chip),
    tcb: true,
  };
  return [...hashes, ...(version ? [version] : []), state, ...(version ? applicationState(chip, boot) : [])];
}

/** Whether the application may still be reverted, and the counter that the bootloader compares with. */
function applicationState(chip: StageContext['chip'], { confirmed }: StageContext['boot']): readonly MeasurementSource[] {
  const { imageState, otpCounter } = measurementIndex;
  const { firmwareConfig, secureVersionNumber } = measurementType;
  return [
    { index: imageState, type: firmwareConfig, form: 'raw', value: imageStateValue(confirmed ? 'confirmed' : 'testing') },
    { index: otpCounter, type: secureVersionNumber, form: 'raw', value: otpCounterValue(chip.otp.counter('application')) },
  ];
}
