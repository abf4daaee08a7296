import { html } from 'hono/html';
import { counted } from '../../../counted.ts';
import type { PresenceAnswer, RefusalAnswer } from '../../presence.ts';
import type { Html } from '../layout.ts';
import { badge, type Cell, type Column, facts, id, link, table, time } from '../parts.ts';

/** Who connected over MQTT, and who was refused why, since the server started. */

type Note = PresenceAnswer['recent'][number];
const tones = { connected: 'good', disconnected: 'quiet', refused: 'bad' } as const;

const inWords: Readonly<Record<string, string>> = {
  AUTH_ERROR: 'its certificate is not accepted',
  CLIENT_INITIATED: 'it said goodbye',
  CONNECTION_LOST: 'the connection broke off: look at the network',
  DUPLICATE_CLIENTID: 'the same identity connected again',
  FORBIDDEN: 'it has no right to that',
  KEEP_ALIVE_TIMEOUT: 'nothing was heard of it: look at its power and the network',
  THROTTLED: 'too much at once: it gets through when it waits longer',
  REVOKED: 'its certificate is revoked',
  SLOW_CONSUMER: 'it did not read what it was sent',
  PACKET_TOO_LARGE: 'it sent more than is allowed at once',
  SERVER_FAULT: 'the server was in trouble: it comes back by itself',
  SERVER_SHUTDOWN: 'the server ended: it comes back by itself',
};

/** In words, and the word that operators search for. */
function why({ reason, detail }: Pick<Note, 'reason' | 'detail'>): Cell {
  if (reason === undefined) return null;
  return html`${detail || inWords[reason]} <code class="none">${reason}</code>`;
}

const noteColumns: readonly Column<Note>[] = [
  { name: 'Time', cell: ({ at }) => time(at) },
  { name: 'What', cell: ({ state }) => badge(state, tones[state]) },
  { name: 'Address', cell: ({ address }) => address },
  { name: 'Why', cell: why, kind: 'text' },
];

export const connections = ({ connects, refusals, recent }: PresenceAnswer): Html =>
  html`${facts([['Since the server started', `${counted(connects, 'connect')}, ${counted(refusals, 'refusal')}`]])}${table('Connections', noteColumns, recent, 'It has not connected since the server started.')}`;

/** A client that is no device is a gateway. */
const deviceForm = /^[0-9a-f]{32}$/;

const refusalColumns: readonly Column<RefusalAnswer>[] = [
  {
    name: 'Who',
    cell: ({ clientId }) =>
      clientId === null ? 'unknown' : deviceForm.test(clientId) ? link(`/console/fleet/${clientId}`, id(clientId, 32)) : clientId,
  },
  ...noteColumns.filter(({ name }) => name !== 'What'),
];

export const refused = (refusals: readonly RefusalAnswer[]): Html =>
  table('Refused connections', refusalColumns, refusals, 'Nobody was refused since the server started.');
