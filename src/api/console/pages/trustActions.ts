import { signingUses } from '../../../domain/signingUse.ts';
import type { CeremonyAnswer } from '../../ceremonies.ts';
import type { Action, Actions, Field, Form } from '../actions.ts';
import { facts, id, time } from '../parts.ts';
import { contentOf, lookedAt } from './approval.ts';
import { reason } from './deviceActions.ts';

/** Ceremonies: proposed by one administrator, approved by another. */

const administrators = ['administrator'] as const;
const back = () => '/console/trust';
const curves = ['P-256', 'P-384'].map(one => [one, one] as const);
const curve: Field = { name: 'curve', label: 'Curve of its key', kind: 'select', isOptional: true, options: curves };

/** @param wish of the ceremony, besides its type */
const proposal = (
  type: string,
  action: Pick<Action, 'label' | 'about' | 'tone' | 'fields' | 'typed'> & { readonly name: string },
  wish: (ids: readonly string[], form: Form) => object,
): Action => ({
  ...action,
  title: ids => `${action.name} ${ids.join(' ')}`.trim(),
  roles: administrators,
  back,
  request: (ids, form) => ({ method: 'POST', path: '/v1/authority/ceremonies', body: { type, ...wish(ids, form) } }),
  done: 'The ceremony is proposed. Another administrator approves it.',
});

const icaOf = ([icaId]: readonly string[]) => ({ icaId });

export const trustActions: Actions = {
  'propose-ica': proposal(
    'establishIssuingCa',
    {
      label: 'New issuing CA',
      name: 'New issuing CA',
      about: 'The next generation of an issuing CA. It is established first and takes over when it is activated.',
      fields: async visit => {
        const { lines } = await visit.get<{ readonly lines: readonly { readonly line: string }[] }>('/v1/lines');
        return [
          { name: 'use', label: 'For', kind: 'select', options: ['device', 'programmer', 'gateway', 'server'] },
          {
            name: 'line',
            label: 'Line (of devices)',
            kind: 'select',
            isOptional: true,
            options: lines.map(({ line }) => [line, line] as const),
          },
          curve,
        ];
      },
    },
    (_, form) => ({ use: form.text('use'), line: form.text('line'), curve: form.text('curve') }),
  ),
  'propose-activate-ica': proposal(
    'activateIssuingCa',
    { label: 'Activate', name: 'Activate', about: 'From then on it signs; the one before it retires.', tone: 'primary' },
    icaOf,
  ),
  'propose-retire-ica': proposal(
    'retireIssuingCa',
    { label: 'Retire', name: 'Retire', about: 'It signs nothing any more, not even its CRL.' },
    icaOf,
  ),
  'propose-compromise-ica': proposal(
    'compromiseIssuingCa',
    {
      label: 'Compromised…',
      name: 'Compromised:',
      about: 'Everything it has ever issued counts no longer, and connections end. This cannot be undone.',
      tone: 'danger',
      fields: [reason],
      typed: ([icaId = '']) => icaId,
    },
    (ids, form) => ({ ...icaOf(ids), reason: form.text('reason') }),
  ),
  'propose-key': proposal(
    'establishPackageKey',
    {
      label: 'New signing key',
      name: 'New signing key',
      about: 'For packages, orders, grants and reports. Without a use there is a key for each.',
      fields: [{ name: 'use', label: 'It signs', kind: 'select', isOptional: true, options: [...signingUses] }],
    },
    (_, form) => ({ use: form.text('use') }),
  ),
  'propose-compromise-key': proposal(
    'compromisePackageKey',
    {
      label: 'Compromised…',
      name: 'A signing key is compromised',
      about: 'Nothing that it signed counts any longer. This cannot be undone.',
      tone: 'danger',
      fields: [{ name: 'keyId', label: 'Key' }, reason],
    },
    (_, form) => ({ keyId: form.text('keyId'), reason: form.text('reason') }),
  ),
  'propose-root': proposal(
    'rollRoot',
    {
      label: 'Roll the root…',
      name: 'Roll the root',
      about: 'Makes the next root with issuing CAs of its own, and a trust bundle by which devices follow.',
      fields: [curve, { ...curve, name: 'icaCurve', label: 'Curve of the issuing CAs' }],
    },
    (_, form) => ({ curve: form.text('curve'), icaCurve: form.text('icaCurve') }),
  ),
  'propose-retire-root': proposal(
    'retireRoot',
    {
      label: 'Retire…',
      name: 'Retire root',
      about: 'Devices that have not followed the newest trust bundle are left behind. This cannot be undone.',
      tone: 'danger',
      typed: ([rootId = '']) => rootId,
    },
    ([rootId]) => ({ rootId }),
  ),
  'approve-ceremony': {
    label: 'Approve',
    title: () => 'Approve a ceremony',
    about: 'It is carried out at once. The one who proposed it cannot approve it.',
    roles: administrators,
    tone: 'primary',
    look: async (visit, [ceremonyId]) => {
      const { ceremonies } = await visit.get<{ readonly ceremonies: readonly CeremonyAnswer[] }>('/v1/authority/ceremonies');
      const known = ceremonies.find(one => one.id === ceremonyId);
      return facts([
        ...Object.entries(known?.action ?? {}),
        ['Proposed by', known?.proposedBy],
        ['Proposed', time(known?.proposedAt)],
        ['Content', id(known?.contentSha256 ?? '', 32)],
      ]);
    },
    fields: async (visit, [ceremonyId]) => {
      const { ceremonies } = await visit.get<{ readonly ceremonies: readonly CeremonyAnswer[] }>('/v1/authority/ceremonies');
      return [lookedAt(ceremonies.find(one => one.id === ceremonyId)?.contentSha256)];
    },
    back,
    request: ([ceremonyId], form) => ({
      method: 'POST',
      path: `/v1/authority/ceremonies/${ceremonyId}/approve`,
      body: contentOf(form),
    }),
    done: 'The ceremony is done.',
  },
  'withdraw-ceremony': {
    label: 'Withdraw',
    title: () => 'Withdraw a ceremony',
    about: 'The proposal is not carried out.',
    roles: administrators,
    back,
    request: ([ceremonyId]) => ({ method: 'POST', path: `/v1/authority/ceremonies/${ceremonyId}/withdraw` }),
    done: 'The proposal is withdrawn.',
  },
};
