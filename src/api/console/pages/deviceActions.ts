import { toBase64url } from '../../../bytes.ts';
import { revocationReasons } from '../../../domain/deviceEvents.ts';
import { NusecError } from '../../../errors.ts';
import { fromPem } from '../../../pki/pem.ts';
import type { Actions, Field } from '../actions.ts';
import { contentOf, lookedAt } from './approval.ts';
import { stepsOf } from './steps.ts';

/** What an officer does to one device. */

const officer = ['securityOfficer'] as const;
const { back, idOf: uidOf, step } = stepsOf('/v1/devices', uid => `/console/fleet/${uid}`);
export const reason: Field = { name: 'reason', label: 'Reason', hint: 'Kept in the log for as long as the log is kept.' };

/** None is chosen before: whoever revokes says why. */
export const revocationReason: Field = {
  name: 'reason',
  label: 'Reason (RFC 5280)',
  kind: 'select',
  options: [['', 'choose …'], ...revocationReasons.map(one => [one, one] as const)],
};

/** @returns SubjectPublicKeyInfo, base64url @throws NusecError BAD_REQUEST */
function keyIn(pem: string): string {
  const [der] = fromPem('PUBLIC KEY', pem);
  if (der === undefined) throw new NusecError('BAD_REQUEST', 'a public key is PEM that begins with BEGIN PUBLIC KEY');
  return toBase64url(der);
}

const withReason = { roles: officer, fields: [reason] } as const;

export const deviceActions: Actions = {
  'attest-device': {
    label: 'Attest now',
    title: ids => `Attest ${uidOf(ids)}`,
    about: 'Asks the device to prove what it runs, with a fresh nonce. It has to be connected, or attached to a gateway that is.',
    roles: officer,
    tone: 'primary',
    fields: [
      {
        name: 'via',
        label: 'Way',
        kind: 'select',
        isOptional: true,
        options: [
          ['mqtt', 'its own connection'],
          ['gateway', 'a gateway'],
        ],
      },
    ],
    back,
    request: ([uid], form) => ({ method: 'POST', path: `/v1/devices/${uid}/attest`, body: { via: form.text('via') } }),
    done: 'Attested: the result is at the top of the attestations.',
  },
  'tag-device': {
    label: 'Tags',
    title: ids => `Tags of ${uidOf(ids)}`,
    about: 'Words by which lists and rollouts select devices.',
    roles: ['securityOfficer', 'releaseManager', 'productionPlanner'],
    fields: [
      { name: 'add', label: 'Add', isOptional: true, hint: 'Separated by spaces: a–z, 0–9, . _ -' },
      { name: 'remove', label: 'Remove', isOptional: true },
    ],
    back,
    request: ([uid], form) => ({
      method: 'POST',
      path: `/v1/devices/${uid}/tags`,
      body: { add: form.list('add'), remove: form.list('remove') },
    }),
    done: 'The tags are changed.',
  },
  'enrol-attestation-key': {
    label: 'Attestation key',
    title: ids => `Attestation key of ${uidOf(ids)}`,
    about: 'The key that a device proves itself with where it has no certificate. The newest one counts.',
    roles: officer,
    fields: [
      { name: 'publicKey', label: 'Public key', kind: 'lines', hint: 'PEM' },
      {
        name: 'instanceId',
        label: 'Instance id of its PSA tokens',
        isOptional: true,
        hint: '66 hex digits; 01 and SHA-256 of the key when empty',
      },
    ],
    back,
    request: ([uid], form) => ({
      method: 'PUT',
      path: `/v1/devices/${uid}/attestation-key`,
      body: { publicKey: keyIn(form.text('publicKey') ?? ''), instanceId: form.text('instanceId') },
    }),
    done: 'The key is enrolled.',
  },
  'quarantine-device': step('quarantine', {
    ...withReason,
    label: 'Quarantine',
    verb: 'Quarantine',
    about: 'Holds back upgrades and trust until a person releases the device. It stays connected.',
    done: 'The device is in quarantine.',
  }),
  'release-device': step('release', {
    ...withReason,
    label: 'Release',
    verb: 'Release from quarantine:',
    about: 'The device gets upgrades and trust again.',
    tone: 'primary',
    done: 'The device is released from quarantine.',
  }),
  'suspend-device': step('suspend', {
    ...withReason,
    label: 'Suspend',
    verb: 'Suspend',
    about: 'Puts the certificates of the device on hold. Its connection ends at once; it can be resumed.',
    done: 'The certificates of the device are on hold.',
  }),
  'resume-device': step('resume', {
    label: 'Resume',
    verb: 'Resume',
    about: 'The certificates that are on hold count again.',
    roles: officer,
    tone: 'primary',
    done: 'The device is in use again.',
  }),
  'revoke-device': step('revoke', {
    label: 'Revoke…',
    verb: 'Revoke',
    about: 'Revokes every certificate of the device for ever. Its connection ends at once. This cannot be undone.',
    roles: officer,
    tone: 'danger',
    fields: [revocationReason],
    typed: uidOf,
    done: 'The device is revoked.',
  }),
  'decommission-device': {
    label: 'Decommission…',
    title: ids => `Decommission ${uidOf(ids)}`,
    about: 'Orders the device to wipe itself, revokes its certificates and destroys its keys. This cannot be undone.',
    roles: officer,
    tone: 'danger',
    fields: [
      reason,
      {
        name: 'withoutReceipt',
        label: 'It cannot answer any more: do not wait for its receipt',
        kind: 'check',
        hint: 'For devices that are lost or destroyed. Whether they wiped themselves is then not known.',
      },
    ],
    typed: uidOf,
    back,
    request: ([uid], form) => ({
      method: 'POST',
      path: `/v1/devices/${uid}/decommission`,
      body: { reason: form.text('reason'), withoutReceipt: form.text('withoutReceipt') === 'true' },
    }),
    done: 'The device is ordered to wipe itself.',
  },
  'repair-device': {
    label: 'Take for repair',
    title: ids => `Take ${uidOf(ids)} for repair`,
    about: 'The certificates of the device are on hold until it returns as a new generation. Names the programmer that may work on it.',
    roles: officer,
    fields: [reason, { name: 'programmer', label: 'UID of the programmer' }],
    back,
    request: ([uid], form) => ({
      method: 'POST',
      path: `/v1/devices/${uid}/repair`,
      body: { reason: form.text('reason'), programmer: form.text('programmer') },
    }),
    done: 'The device is in repair.',
  },
  'request-unlock': step('repair/unlock', {
    ...withReason,
    label: 'Ask for debug unlock',
    verb: 'Debug unlock of',
    about: 'Asks for the one debug unlock of this repair. Another officer approves it.',
    done: 'Asked for: another officer approves the unlock.',
  }),
  'approve-unlock': {
    label: 'Approve debug unlock',
    title: ids => `Approve the debug unlock of ${uidOf(ids)}`,
    about: 'The programmer of this repair may open the debug port of this one device once.',
    roles: officer,
    tone: 'danger',
    fields: async (visit, [uid]) => {
      const { contentSha256 } = await visit.get<{ readonly contentSha256?: string }>(`/v1/devices/${uid}/repair`);
      return [{ ...lookedAt(contentSha256), isOptional: true }];
    },
    back,
    request: ([uid], form) => ({
      method: 'POST',
      path: `/v1/devices/${uid}/repair/unlock/approve`,
      body: contentOf(form),
    }),
    done: 'The unlock is approved.',
  },
  'return-device': step('repair/return', {
    label: 'Order return',
    verb: 'Return to service:',
    about: 'The programmer of this repair may now make the next generation of the device.',
    roles: officer,
    tone: 'primary',
    done: 'The return is ordered.',
  }),
};
