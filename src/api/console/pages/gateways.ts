import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { DeviceAnswer } from '../../deviceAnswer.ts';
import type { GatewayAnswer } from '../../gateways.ts';
import type { PresenceAnswer, RefusalAnswer } from '../../presence.ts';
import { type Actions, actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, card, deviceLink, facts, heading, link, pager, time } from '../parts.ts';
import { queryOf, type Visit } from '../visit.ts';
import { reason } from './deviceActions.ts';
import { refused } from './presence.ts';
import { stepsOf } from './steps.ts';

/** The map of gateways: each with the devices behind it, and how they are. */

const shownGateways = 20;
const shownDevices = 20;
const shownRefusals = 20;

export async function gatewaysPage(visit: Visit): Promise<Page> {
  const [{ gateways, next }, refusals] = await Promise.all([
    visit.get<{ readonly gateways: readonly GatewayAnswer[]; readonly next?: string }>(
      `/v1/gateways${queryOf({ limit: shownGateways, cursor: visit.query('cursor') })}`,
    ),
    visit.getIfAllowed<{ readonly refusals: readonly RefusalAnswer[] }>(`/v1/gateway/refusals?limit=${shownRefusals}`),
  ]);
  const cards = await Promise.all(gateways.map(one => gatewayCard(visit, one)));
  const content = html`${heading('Gateways', 'Each speaks for the devices that are attached to it', [actionLink(visit, gatewayActions, 'register-gateway')])}
${gateways.length === 0 ? html`<p class="empty">No gateway yet. An officer registers one; <code>nusec gateway register --id … --data …</code> on the box itself gives it its certificate.</p>` : cards}
${pager(visit, next, [])}
${refusals && card(`Refused connections, the newest ${shownRefusals}`, refused(refusals.refusals))}`;
  return { title: 'Gateways', content, isLive: true };
}

async function gatewayCard(visit: Visit, { id, name, status, devices, trustBundleVersion }: GatewayAnswer): Promise<Html> {
  const [presence, attached] = await Promise.all([
    visit.get<PresenceAnswer>(`/v1/gateways/${id}/presence`),
    visit.get<{ readonly devices: readonly DeviceAnswer[] }>(`/v1/devices${queryOf({ gateway: id, limit: shownDevices })}`),
  ]);
  const names: Readonly<Record<string, readonly string[]>> = {
    REGISTERED: ['attach-device', 'revoke-gateway'],
    ACTIVE: ['attach-device', 'suspend-gateway', 'revoke-gateway'],
    SUSPENDED: ['resume-gateway', 'revoke-gateway'],
  };
  const about = facts([
    ['State', html`${badge(status)} ${presence.connected ? badge('online', 'good') : badge('offline', 'quiet')}`],
    ['Last connection', presence.recent[0] && html`${presence.recent[0].state} ${time(presence.recent[0].at)}`],
    ['Name', name],
    ['Trust bundle', trustBundleVersion === 0 ? null : `version ${trustBundleVersion}`],
  ]);
  const behind =
    devices.length === 0
      ? html`<p class="none">No device is attached.</p>`
      : html`<div class="tree"><ul>${attached.devices.map(one => html`<li>${deviceLine(visit, id, one)}</li>`)}</ul></div>
<p>${link(`/console/fleet?gateway=${id}`, `${counted(devices.length, 'device')} in the fleet`)}</p>`;
  return card(
    `Gateway ${id}`,
    html`${about}${behind}`,
    (names[status] ?? []).map(action => actionLink(visit, gatewayActions, action, [id])),
  );
}

const deviceLine = (visit: Visit, gatewayId: string, { uid, status, version, attestation, attestedAt, connected }: DeviceAnswer): Html =>
  html`<div class="head"><div>${deviceLink(uid)} ${badge(status)} ${attestation === null ? '' : html`${badge(attestation)} ${time(attestedAt)} `}${
    connected ? badge('online by itself', 'good') : ''
  } <span class="none">${version}</span></div><div class="actions">${actionLink(visit, gatewayActions, 'detach-device', [gatewayId, uid])}</div></div>`;

const officers = ['securityOfficer'] as const;
const { back, step } = stepsOf('/v1/gateways', () => '/console/gateways');

export const gatewayActions: Actions = {
  'register-gateway': {
    label: 'Register a gateway',
    title: () => 'Register a gateway',
    about: 'Its name is then known. On the box itself, nusec gateway register with --data makes its key and has it certified.',
    roles: officers,
    tone: 'primary',
    fields: [
      { name: 'id', label: 'Id', hint: '1 to 64 letters, digits, _ and -' },
      { name: 'name', label: 'Name', isOptional: true },
    ],
    back,
    request: (_, form) => ({ method: 'POST', path: '/v1/gateways', body: { id: form.text('id'), name: form.text('name') } }),
    done: 'The gateway is registered.',
  },
  'attach-device': {
    label: 'Attach a device',
    title: ([id]) => `Attach a device to gateway ${id}`,
    about: 'The gateway may speak for the device from then on.',
    roles: officers,
    tone: 'primary',
    fields: [{ name: 'uid', label: 'UID of the device' }],
    back,
    request: ([id], form) => ({ method: 'POST', path: `/v1/gateways/${id}/devices`, body: { uid: form.text('uid') } }),
    done: 'The device is attached.',
  },
  'detach-device': {
    label: 'Detach',
    title: ([id, uid]) => `Detach ${uid} from gateway ${id}`,
    about: 'The gateway does not speak for the device any more.',
    roles: officers,
    back,
    request: ([id, uid]) => ({ method: 'DELETE', path: `/v1/gateways/${id}/devices/${uid}` }),
    done: 'The device is detached.',
  },
  'suspend-gateway': step('suspend', {
    label: 'Suspend',
    verb: 'Suspend gateway',
    roles: officers,
    about: 'Its certificate is on hold and its connection ends, until it is resumed.',
    fields: [reason],
    done: 'The gateway is suspended.',
  }),
  'resume-gateway': step('resume', {
    label: 'Resume',
    verb: 'Resume gateway',
    roles: officers,
    about: 'Its certificate counts again.',
    tone: 'primary',
    done: 'The gateway is active again.',
  }),
  'revoke-gateway': step('revoke', {
    label: 'Revoke…',
    verb: 'Revoke gateway',
    roles: officers,
    about: 'Revokes its certificate for ever. This cannot be undone.',
    tone: 'danger',
    fields: [reason],
    typed: ([id = '']) => id,
    done: 'The gateway is revoked.',
  }),
};
