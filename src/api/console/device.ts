import { html } from 'hono/html';
import { deviceStream } from '../../domain/device.ts';
import { NusecError } from '../../errors.ts';
import { verifyStream } from '../../eventstore/hashchain.ts';
import type { RecordedEvent } from '../../eventstore/port.ts';
import { deviceQueries } from '../../projections/devices.ts';
import type { Context } from '../../services/base/context.ts';
import { type Html, pill, time } from './layout.ts';

/** One device: what is known of it, and its whole life as the events that prove it. */

export async function deviceTimeline(ctx: Context, uid: string): Promise<Html> {
  const [row, events] = await Promise.all([deviceQueries(ctx.reads.db).byUid(uid), ctx.store.readStream(deviceStream(uid))]);
  if (row === undefined) throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  const verdict = verifyStream(events);
  const facts: readonly (readonly [string, Html | string])[] = [
    ['State', pill(row.status)],
    ['Line', row.line],
    ['Firmware', row.version === null ? '–' : `${row.version} (security counter ${row.security_counter})`],
    ['Attestation', row.attestation === null ? '–' : pill(row.attestation)],
    ['Registration id', html`<code>${row.obj_id}</code>, generation ${row.generation}`],
    ['Certificate', html`<code>${row.serial ?? '–'}</code>`],
    ['Trust bundle', row.trust_bundle_version === null ? '–' : `version ${row.trust_bundle_version}`],
    ['Production job', html`<code>${row.job_id}</code>`],
    ['Programmer', html`<code>${row.programmer}</code>`],
    [
      'History',
      html`${pill(verdict.ok ? 'verified' : 'damaged')} ${verdict.ok ? `${verdict.events} events, hash chain unbroken` : `the chain breaks at revision ${verdict.revision}`}`,
    ],
  ];
  return html`<h1>Device <span class="uid">${uid}</span></h1>
<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
<h2>Timeline</h2>
<ol class="timeline">${events.map(entry)}</ol>`;
}

function entry(event: RecordedEvent): Html {
  const details = Object.entries(event.data).filter(([name]) => name !== 'uid');
  return html`<li><div class="when">${time(event.at)}</div><div class="what"><h3>${words(event.type)}</h3>
<p class="by">by ${event.by} · event ${event.position} · <code title="hash of this event and all before it">${event.hash.slice(0, 16)}</code></p>
<dl>${details.map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${typeof value === 'string' ? value : JSON.stringify(value)}</code></dd></div>`)}</dl></div></li>`;
}

/** `DebugLocked` → `Debug locked` */
const words = (type: string): string =>
  type.replace(/(?<=[a-z])(?=[A-Z])/g, ' ').replace(/(?<=.)[A-Z](?=[a-z])/g, letter => letter.toLowerCase());
