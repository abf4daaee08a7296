import { toBase64url } from '../../../bytes.ts';
import { definedOf } from '../../../defined.ts';
import {
  evidenceKinds,
  spdmCapabilityNames,
  spdmSignatureNames,
  spdmVersionNames,
  tokenCallers,
} from '../../../domain/attestationPolicy.ts';
import { NusecError } from '../../../errors.ts';
import { fromPem } from '../../../pki/pem.ts';
import type { LineAnswer } from '../../lines.ts';
import type { Actions, Field, Form } from '../actions.ts';
import type { Visit } from '../visit.ts';
import { contentOf, lookedAt } from './approval.ts';
import { stepsOf } from './steps.ts';

/** What release managers and officers decide about a product line. */

const managers = ['releaseManager'] as const;
const officers = ['securityOfficer'] as const;
const pointBytes = 65;
const { idOf: lineOf, step } = stepsOf('/v1/lines', line => `/console/lines/${line}`, 40);
const named = <Word extends string>(words: readonly Word[]) => words.map(word => [word, word] as const);

/** The point of a P-256 key in PEM: what a line's bootloader is built with. @throws NusecError BAD_REQUEST */
function pointIn(pem: string): string {
  const [der] = fromPem('PUBLIC KEY', pem);
  if (der === undefined) throw new NusecError('BAD_REQUEST', 'the key of the line is a PUBLIC KEY in PEM');
  return toBase64url(der.slice(-pointBytes));
}

async function policyFields(visit: Visit, [line]: readonly string[]): Promise<readonly Field[]> {
  const { attestation } = await visit.get<LineAnswer>(`/v1/lines/${line}`);
  return [
    {
      name: 'evidence',
      label: 'Devices prove themselves with',
      kind: 'select',
      options: named(evidenceKinds),
      value: attestation.evidence,
    },
    {
      name: 'leastVersion',
      label: 'Oldest version of SPDM',
      kind: 'select',
      options: named(spdmVersionNames),
      value: attestation.leastVersion,
    },
    {
      name: 'signatures',
      label: 'Signatures',
      kind: 'choices',
      options: named(spdmSignatureNames),
      value: attestation.signatures.join('\n'),
    },
    {
      name: 'requires',
      label: 'Capabilities that every device must have',
      kind: 'choices',
      options: named(spdmCapabilityNames),
      value: attestation.requires.join('\n'),
    },
    {
      name: 'publicKey',
      label: 'A device without certificates may be known by its public key',
      kind: 'check',
      value: String(attestation.publicKey),
    },
    {
      name: 'everyHours',
      label: 'Each connected device proves itself every (hours)',
      kind: 'number',
      value: String(attestation.everyHours ?? 0),
      hint: '0: no schedule',
    },
    {
      name: 'perMinute',
      label: 'Devices that the schedule asks in a minute',
      kind: 'number',
      value: String(attestation.perMinute ?? 0),
      hint: '0: 600',
    },
    {
      name: 'caller',
      label: 'Side of a device that asks for PSA tokens',
      kind: 'select',
      options: named(tokenCallers),
      value: attestation.caller,
      isFurther: true,
    },
    {
      name: 'implementationId',
      label: 'Implementation id of PSA tokens',
      value: attestation.implementationId,
      isOptional: true,
      isFurther: true,
      hint: '64 hex digits; empty: any',
    },
  ];
}

const layoutNames: Readonly<Record<string, string>> = {
  appSlotBytes: 'Slot of the application (bytes)',
  bl2SlotBytes: 'Slot of the bootloader (bytes)',
  trailerBytes: 'Trailer of a slot (bytes)',
  headerAlignment: 'Alignment of the header (bytes)',
  counterStep: 'Largest step of the counter without a second word',
  blockBytes: 'What a device can hold of an upgrade before it checks it (bytes)',
};
const layoutFields = Object.entries(layoutNames).map(
  ([name, label]): Field => ({ name, label, kind: 'number', isOptional: true, isFurther: true }),
);
function layoutIn(form: Form): { readonly layout?: object } {
  const layout = definedOf(Object.fromEntries(Object.keys(layoutNames).map(name => [name, form.number(name)])));
  return Object.keys(layout).length === 0 ? {} : { layout };
}

export const lineActions: Actions = {
  'define-line': {
    label: 'New line',
    title: () => 'New product line',
    about: 'Defines the line and gives it an issuing CA of its own.',
    roles: managers,
    tone: 'primary',
    fields: [
      { name: 'line', label: 'Name', hint: 'a–z, 0–9, . and -' },
      { name: 'counterMaximum', label: 'Largest security counter', kind: 'number', isOptional: true },
      { name: 'rollbackFloor', label: 'Lowest security counter', kind: 'number', isOptional: true },
      { name: 'attestationDays', label: 'Attestations are kept (days)', kind: 'number', isOptional: true },
      ...layoutFields,
    ],
    back: () => '/console/lines',
    request: (_, form) => ({
      method: 'POST',
      path: '/v1/lines',
      body: {
        line: form.text('line'),
        counterMaximum: form.number('counterMaximum'),
        rollbackFloor: form.number('rollbackFloor'),
        attestationDays: form.number('attestationDays'),
        ...layoutIn(form),
      },
    }),
    to: ({ line }) => `/console/lines/${line}`,
    done: 'The line is defined.',
  },
  'raise-floor': step(
    'floor',
    {
      label: 'Raise the floor…',
      verb: 'Raise the security floor of',
      about:
        'Nothing below it is built or offered any more. It never falls again. Above what is published another release manager approves it.',
      roles: managers,
      tone: 'danger',
      fields: [{ name: 'floor', label: 'Lowest security counter', kind: 'number' }],
      typed: lineOf,
      done: 'The floor is raised, or waits for another release manager.',
    },
    form => ({ floor: form.number('floor') }),
  ),
  'approve-line': step(
    'approve',
    {
      label: 'Approve the change…',
      verb: 'Approve the lasting change of',
      about: 'It takes effect at once, and is never taken back. The one who proposed it cannot approve it.',
      roles: managers,
      tone: 'danger',
      fields: async (visit, [line]) => [lookedAt((await visit.get<LineAnswer>(`/v1/lines/${line}`)).proposed?.contentSha256)],
      typed: lineOf,
      done: 'The change is made.',
    },
    contentOf,
  ),
  'set-support': step(
    'support',
    {
      label: 'Support period',
      verb: 'Support period of',
      about: 'Until when the line gets security updates.',
      roles: managers,
      fields: [{ name: 'until', label: 'Last day', kind: 'date' }],
      done: 'The support period is set.',
    },
    form => ({ until: form.text('until') }),
  ),
  'set-encryption': step(
    'encryption',
    {
      label: 'Encrypt images…',
      verb: 'Encrypt the images of',
      about:
        'How the application images of the line are encrypted. It is decided once; when the line has devices, another release manager approves it.',
      roles: managers,
      tone: 'danger',
      fields: [
        {
          name: 'bits',
          label: 'AES key',
          kind: 'select',
          options: [
            ['128', '128 bits, as every encrypting MCUboot knows it'],
            ['256', '256 bits'],
          ],
        },
        { name: 'only', label: 'No device of the line gets a plain image any more; never taken back', kind: 'check' },
        { name: 'uidBound', label: 'The image of a device names its UID', kind: 'check' },
        {
          name: 'publicKey',
          label: 'One key for all devices, PEM',
          kind: 'lines',
          isOptional: true,
          hint: 'That their bootloader is built with. Without it, each device has a key of its own.',
        },
      ],
      typed: lineOf,
      done: 'New images of the line are encrypted, or this waits for another release manager.',
    },
    form => {
      const key = form.text('publicKey');
      const scheme = key === undefined ? { scheme: 'device' } : { scheme: 'line', publicKey: pointIn(key) };
      return { ...scheme, bits: form.number('bits'), only: form.text('only') === 'true', uidBound: form.text('uidBound') === 'true' };
    },
  ),
  'set-attestation': step(
    'attestation',
    {
      label: 'Attestation rules',
      verb: 'Attestation rules of',
      about: 'What its devices have to speak when they are attested, and how often they are asked.',
      roles: officers,
      fields: policyFields,
      done: 'The rules are set.',
    },
    form => ({
      evidence: form.text('evidence'),
      leastVersion: form.text('leastVersion'),
      signatures: form.list('signatures'),
      requires: form.list('requires'),
      publicKey: form.text('publicKey') === 'true',
      everyHours: form.number('everyHours'),
      perMinute: form.number('perMinute'),
      caller: form.text('caller'),
      implementationId: form.text('implementationId') ?? '',
    }),
  ),
  'attest-line': step('attest', {
    label: 'Attest all',
    verb: 'Attest every device of',
    about: 'Every device of the line proves itself once more, as fast as the schedule of the line allows.',
    roles: officers,
    done: 'The devices are asked one after the other.',
  }),
};
