import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { PresenceAnswer, RefusalAnswer } from '../../presence.ts';
import type { Html } from '../layout.ts';
import { badge, type Column, facts, table, time } from '../parts.ts';

/** Who connected over MQTT, and who was refused why, since the server started. */

type Note = PresenceAnswer['recent'][number];
const tones = { connected: 'good', disconnected: 'quiet', refused: 'bad' } as const;

const noteColumns: readonly Column<Note>[] = [
  { name: 'Time', cell: ({ at }) => time(at) },
  { name: 'What', cell: ({ state }) => badge(state, tones[state]) },
  { name: 'Address', cell: ({ address }) => address },
  { name: 'Why', cell: ({ reason, detail }) => [reason, detail].filter(Boolean).join(': '), kind: 'text' },
];

export const connections = ({ connects, refusals, recent }: PresenceAnswer): Html =>
  html`${facts([['Since the server started', `${counted(connects, 'connect')}, ${counted(refusals, 'refusal')}`]])}${table('Connections', noteColumns, recent, 'It has not connected since the server started.')}`;

const refusalColumns: readonly Column<RefusalAnswer>[] = [
  { name: 'Who', cell: ({ clientId }) => clientId ?? 'unknown', kind: 'text' },
  ...noteColumns.filter(({ name }) => name !== 'What'),
];

export const refused = (refusals: readonly RefusalAnswer[]): Html =>
  table('Refused connections', refusalColumns, refusals, 'Nobody was refused since the server started.');
