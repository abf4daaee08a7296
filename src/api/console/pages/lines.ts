import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { LineAnswer, LineCountersAnswer } from '../../lines.ts';
import type { ScheduleAnswer } from '../../overview.ts';
import { actionLink } from '../actions.ts';
import type { Html, Page } from '../layout.ts';
import { badge, bar, type Cell, type Column, card, facts, heading, id, link, table, time } from '../parts.ts';
import type { Visit } from '../visit.ts';
import { lineActions } from './lineActions.ts';

/** Product lines: their counter budget, what their devices have to prove, how their images are encrypted and until when they are supported. */

export async function linesPage(visit: Visit): Promise<Page> {
  const { lines } = await visit.get<{ readonly lines: readonly LineAnswer[] }>('/v1/lines');
  const content = html`${heading('Lines', 'Each has a device-issuing CA of its own, and rules that all of its devices follow', [actionLink(visit, lineActions, 'define-line')])}
${table('Lines', columns, lines, 'No line yet. A release manager defines the first one.')}`;
  return { title: 'Lines', content, isLive: true };
}

const columns: readonly Column<LineAnswer>[] = [
  { name: 'Line', cell: ({ line }) => html`<strong>${link(`/console/lines/${line}`, line)}</strong>` },
  { name: 'Counter floor', cell: ({ rollbackFloor, counterMaximum }) => `${rollbackFloor} of ${counterMaximum}`, kind: 'number' },
  { name: 'Attestation', cell: ({ attestation }) => wayOf(attestation) },
  { name: 'Schedule', cell: ({ attestation: { everyHours } }) => (everyHours === undefined ? null : `every ${everyHours} h`) },
  { name: 'Images', cell: ({ encryption }) => encryptionWords(encryption) },
  { name: 'Security updates until', cell: ({ supportUntil }) => supportUntil },
];

const wayOf = ({ evidence, leastVersion }: LineAnswer['attestation']): string =>
  evidence === 'spdm' ? `SPDM ${leastVersion} or newer` : 'PSA tokens';

function encryptionWords(encryption: LineAnswer['encryption']): string {
  if (encryption === undefined) return 'plain';
  const { scheme, bits, only, uidBound } = encryption;
  return `AES-${bits}, ${scheme === 'device' ? 'a key of each device' : 'a key of the line'}${only ? ', never plain' : ''}${uidBound ? ', bound to the UID' : ''}`;
}

function proposalWords({ floor, encryption, attestationDays, by, at }: NonNullable<LineAnswer['proposed']>): string {
  const what =
    floor !== undefined
      ? `counter floor ${floor}`
      : encryption !== undefined
        ? `images: ${encryptionWords(encryption)}`
        : `attestations are kept for ${attestationDays} days`;
  return `${what}, proposed by ${by} at ${at}`;
}

export async function linePage(visit: Visit, { line = '' }: Readonly<Record<string, string>>): Promise<Page> {
  const [one, counters, progress] = await Promise.all([
    visit.get<LineAnswer>(`/v1/lines/${line}`),
    visit.get<LineCountersAnswer>(`/v1/lines/${line}/counters`),
    visit.get<ScheduleAnswer>(`/v1/lines/${line}/attestation`),
  ]);
  const names = [
    ...(one.proposed ? ['approve-line'] : []),
    'raise-floor',
    'set-support',
    'set-encryption',
    'set-attestation',
    'attest-line',
  ];
  const actions = names.map(name => actionLink(visit, lineActions, name, [line]));
  const content = html`${heading(`Line ${line}`, link('/console/lines', 'Lines'), actions)}
${facts(factsOf(one))}
${card('Security counters', countersOf(counters))}
${card('Attestation', html`${facts(policyFacts(one))}${progressOf(progress)}`, [link(`/console/fleet?line=${line}`, 'Devices')])}`;
  return { title: `Line ${line}`, content, isLive: true };
}

const factsOf = (line: LineAnswer): readonly (readonly [string, Cell])[] => [
  ['Waits for another person', line.proposed && proposalWords(line.proposed)],
  ['Images', encryptionWords(line.encryption)],
  ['Security updates until', line.supportUntil],
  ['Attestations are kept', line.attestationDays === undefined ? null : `${line.attestationDays} days`],
  ['Vendor', id(line.vendorUuid, 40)],
  ['Class', id(line.classUuid, 40)],
  [
    'Slots',
    `application ${line.layout.appSlotBytes.toLocaleString('en')}, bootloader ${line.layout.bl2SlotBytes.toLocaleString('en')} bytes`,
  ],
  ['Block of an upgrade', `${line.layout.blockBytes.toLocaleString('en')} bytes`],
];

function countersOf({ counterMaximum, rollbackFloor, used, left, devices }: LineCountersAnswer): Html {
  const rows: readonly Column<LineCountersAnswer['devices'][number]>[] = [
    { name: 'Counter', cell: ({ counter }) => counter, kind: 'number' },
    { name: 'Devices that have proven it', cell: ({ count }) => count, kind: 'number' },
  ];
  return html`${bar(`Counter budget of ${counterMaximum}`, [
    ['used', used, 'busy'],
    ['left', left, 'quiet'],
  ])}${facts([['Floor', `${rollbackFloor}: nothing below it is built or offered`]])}${table('Counters', rows, devices, 'No device has proven a counter yet.')}`;
}

const policyFacts = ({ attestation }: LineAnswer): readonly (readonly [string, Cell])[] => [
  ['Proof', wayOf(attestation)],
  ['Signatures', attestation.signatures.join(', ')],
  ['Capabilities', attestation.requires.join(', ')],
  ['Without a certificate', attestation.publicKey ? 'known by an enrolled public key' : 'refused'],
  ['Tokens are asked for by', attestation.evidence === 'spdm' ? null : `the ${attestation.caller} side`],
  ['Schedule', attestation.everyHours === undefined ? 'none' : `every ${attestation.everyHours} hours`],
];

const progressOf = ({ attested, inService, results, overdueDevices, overdue, since, everyHours }: ScheduleAnswer): Html =>
  html`${bar('Attestation of the line', [
    ['attested', attested, 'good'],
    ['to come', Math.max(0, inService - attested), 'quiet'],
  ])}${facts([
    ['Results', `${results.passed} passed, ${results.failed} failed, ${results.unproven} unproven, ${results.unsupported} unsupported`],
    [
      'Overdue',
      everyHours === undefined
        ? null
        : html`${counted(overdueDevices, 'device')} ${overdue ? badge('overdue', 'bad') : badge('in time', 'good')}`,
    ],
    ['Asked since', time(since)],
  ])}`;
