import { html } from 'hono/html';
import type { EventAnswer } from '../../events.ts';
import type { Html } from '../layout.ts';
import { time } from '../parts.ts';

/** The life of a device, folded by stage: the last stage is open. */

const stages = ['Manufacture', 'Deployment', 'Maintenance', 'Decommission'] as const;
type Stage = (typeof stages)[number];

/** Where a stage begins; what comes after belongs to it until the next one begins. A device comes back from maintenance, never from the end. */
const begins: Readonly<Record<string, Stage>> = {
  DeviceMinted: 'Manufacture',
  DevicePutInService: 'Deployment',
  FirmwareOffered: 'Maintenance',
  DeviceTakenForRepair: 'Maintenance',
  DeviceQuarantined: 'Maintenance',
  DeviceSuspended: 'Maintenance',
  DeviceDecommissionOrdered: 'Decommission',
  DeviceRevoked: 'Decommission',
  CertificateRevoked: 'Decommission',
  DeviceScrapped: 'Decommission',
};

type Chapter = { readonly stage: Stage; readonly events: EventAnswer[] };

/** @param events of a device, oldest first */
function chaptersOf(events: readonly EventAnswer[]): readonly Chapter[] {
  const chapters: Chapter[] = [];
  for (const event of events) {
    const last = chapters.at(-1);
    const stage = begins[event.type] ?? last?.stage ?? 'Manufacture';
    if (last === undefined || (stage !== last.stage && isLater(stage, last.stage, event))) chapters.push({ stage, events: [event] });
    else last.events.push(event);
  }
  return chapters;
}

const isLater = (stage: Stage, than: Stage, { type }: EventAnswer): boolean =>
  type === 'DeviceMinted' || stages.indexOf(stage) > stages.indexOf(than);

export function timeline(events: readonly EventAnswer[]): Html {
  const chapters = chaptersOf(events);
  return html`<div class="chapters">${chapters.map(({ stage, events: own }, index) => {
    const [first, last] = [own[0], own.at(-1)];
    return html`<details ${index === chapters.length - 1 ? html`open` : ''}><summary><strong>${stage}</strong> <span class="none">${own.length} ${own.length === 1 ? 'event' : 'events'}, ${first && time(first.at)} to ${last && time(last.at)}</span></summary>
<ol class="timeline">${own.map(entry)}</ol></details>`;
  })}</div>`;
}

function entry(event: EventAnswer): Html {
  const details = Object.entries(event.data).filter(([name, value]) => name !== 'uid' && !(name === 'by' && value === event.by));
  return html`<li><div class="when">${time(event.at)}</div><div class="what"><h3>${words(event.type)}</h3>
<p class="by">by ${event.by} · event ${event.position} · <code title="hash of this event and all before it">${event.hash.slice(0, 16)}</code></p>
<dl>${details.map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${typeof value === 'string' ? value : JSON.stringify(value)}</code></dd></div>`)}</dl></div></li>`;
}

/** `DebugLocked` → `Debug locked` */
export const words = (type: string): string =>
  type
    .replace(/(?<=[a-z])(?=[A-Z])/g, ' ')
    .replace(/(?<=.)[A-Z](?=[a-z])/g, letter => letter.toLowerCase())
    .replace(/\bca\b/i, 'CA');
