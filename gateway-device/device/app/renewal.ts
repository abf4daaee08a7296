import { toHex } from '../../../src/bytes.ts';
import { decodeAs } from '../../../src/cbor/schema.ts';
import type { CborMap } from '../../../src/cbor/value.ts';
import { type ErrorCode, NusecError } from '../../../src/errors.ts';
import { certificateMessage } from '../../../src/mqttMessages.ts';
import type { StageContext } from '../../chip/board.ts';
import { trustOf } from '../../chip/trust.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';
import { isNotAuthorized } from '../../link/mqttLink.ts';
import {
  acceptNext,
  dropNext,
  hasNextCertificate,
  hasOperational,
  isUnderWay,
  keepCertificate,
  nextRequest,
  serialOf,
  tlsOf,
  type Who,
} from './operational.ts';

/** Getting and renewing the operational certificate over up/csr and dn/crt. The server says when: it has the clock. The device makes a new key, asks,
 *  judges what comes, connects with it beside the present connection, and lets the one before go when the server has accepted it. */

export type RenewalClient = Pick<NusecMqttClient, 'on' | 'request' | 'switchTls'>;
export type Renewal = {
  /** On each connection, after hello: resumes a renewal that a power cut or a lost connection interrupted. */
  readonly online: () => void;
};

const csrKey = 1;
/** After these refusals of the request or the certificate, the next attempt starts again with another key. After any other refusal it resumes. */
const finalRefusals: ReadonlySet<ErrorCode> = new Set([
  'CHAIN_REFUSED',
  'CLIENT_CERTIFICATE_REFUSED',
  'CSR_ALGORITHM',
  'CSR_MALFORMED',
  'CSR_SIGNATURE',
  'CSR_SUBJECT',
  'CSR_TOO_LARGE',
  'KEY_REFUSED',
  'WEAK_OR_CLONED_KEY',
]);

/** @param who the identity of the present connection
 *  @param onAccepted the server has accepted the operational identity: connections are made with it from now on */
export function createRenewal({ chip, boot, tell }: StageContext, client: RenewalClient, who: () => Who, onAccepted: () => void): Renewal {
  let isRunning = false;

  const obtain = async (): Promise<void> => {
    const fields: CborMap = new Map([[csrKey, await nextRequest(chip)]]);
    const { chain } = certificateMessage.decode(await client.request({ up: 'csr', down: 'crt', fields }), 'message');
    keepCertificate(chip, await trustOf(chip), chain ?? []);
  };
  /** @returns whether the server has accepted this identity; false when it did not answer
   *  @throws NusecError CLIENT_CERTIFICATE_REFUSED */
  const goOverTo = async (next: Who): Promise<boolean> => {
    const tls = tlsOf(chip, next, await trustOf(chip));
    if (!tls) return false;
    try {
      await client.switchTls(tls);
      return true;
    } catch (error) {
      // A server under load may let the connection wait too long: the certificate is kept, and the next reminder tries it again.
      if (isNotAuthorized(error)) throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'the server did not accept the certificate');
      return false;
    }
  };
  /** A device that fell back, perhaps because the server was in trouble, tries the identity it has before it asks for another.
   *  @returns whether to ask */
  const needsNext = async (): Promise<boolean> => {
    if (isUnderWay(chip) || who() !== 'idevid' || !hasOperational(chip)) return true;
    try {
      if (await goOverTo('ldevid')) onAccepted();
      return false;
    } catch {
      return true;
    }
  };
  const renew = async (): Promise<void> => {
    try {
      if (!(await needsNext())) return;
      if (!hasNextCertificate(chip)) await obtain();
      if (!(await goOverTo('ldevidNext'))) return;
      acceptNext(chip);
      onAccepted();
      tell({ event: 'renewed', serial: serialOf(chip, 'ldevid') ?? '' });
    } catch (error) {
      if (!(error instanceof NusecError)) return;
      if (finalRefusals.has(error.code)) dropNext(chip);
      tell({ event: 'refused', what: 'certificate', code: error.code });
    }
  };
  /** One at a time; an image on trial leaves the identity alone. */
  const start = (): void => {
    if (!boot.confirmed || isRunning) return;
    isRunning = true;
    void renew().finally(() => {
      isRunning = false;
    });
  };
  client.on('crt', payload => {
    const serial = serialInReminder(payload);
    // One about a certificate that was replaced meanwhile comes too late.
    if (serial !== undefined && serial === serialOf(chip, who())) start();
  });
  return {
    online: () => {
      if (isUnderWay(chip)) start();
    },
  };
}

/** @returns hex; undefined when it is no reminder */
function serialInReminder(payload: Uint8Array): string | undefined {
  try {
    const { chain, serial } = decodeAs(certificateMessage, payload);
    return chain === null && serial ? toHex(serial) : undefined;
  } catch {
    return undefined;
  }
}
