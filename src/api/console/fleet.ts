import { html } from 'hono/html';
import type { Scope } from '../../domain/roles.ts';
import { type DeviceRow, deviceQueries } from '../../projections/devices.ts';
import type { Context } from '../../services/base/context.ts';
import { type Html, pill, time } from './layout.ts';

/** The fleet table: every device with its state, firmware and last attestation. It refreshes itself; what has the keyboard focus keeps it, as it
 *  has an id. */

const pageRows = 100;
const refreshSeconds = 3;

export async function fleet(ctx: Context, scope: Scope | undefined, after?: string): Promise<Html> {
  const queries = deviceQueries(ctx.reads.db);
  const [rows, counts] = await Promise.all([
    queries.page({ limit: pageRows, scope, ...(after !== undefined && { after }) }),
    scope === undefined ? queries.counts() : queries.countsIn(scope),
  ]);
  const byStatus = new Map<string, number>();
  for (const { status, count } of counts) byStatus.set(status, (byStatus.get(status) ?? 0) + count);
  const total = [...byStatus.values()].reduce((sum, count) => sum + count, 0);
  const last = rows.length === pageRows ? rows.at(-1)?.uid : undefined;
  const self = after === undefined ? '/console/fleet' : `/console/fleet?after=${after}`;
  return html`<section id="fleet" hx-get="${self}" hx-trigger="every ${refreshSeconds}s" hx-swap="outerHTML">
<h1>Fleet</h1>
<ul class="counts"><li><strong>${total}</strong> devices</li>${[...byStatus].map(([status, count]) => html`<li><strong>${count}</strong> ${pill(status)}</li>`)}</ul>
<div class="scroll">
<table>
<thead><tr><th>UID</th><th>Line</th><th>State</th><th>Firmware</th><th class="number">Counter</th><th>Attestation</th><th>Last event</th></tr></thead>
<tbody>${rows.map(deviceLine)}</tbody>
</table>
</div>
${rows.length === 0 ? html`<p class="empty">No device yet. A production job mints the first one.</p>` : ''}
${last === undefined ? '' : html`<p><a id="next-page" href="/console?after=${last}">Next page</a></p>`}
</section>`;
}

function deviceLine(row: DeviceRow): Html {
  return html`<tr><td><a class="uid" id="device-${row.uid}" href="/console/devices/${row.uid}">${row.uid}</a></td><td>${row.line}</td><td>${pill(row.status)}</td>
<td>${row.version ?? '–'}</td><td class="number">${row.security_counter ?? '–'}</td><td>${row.attestation === null ? '–' : pill(row.attestation)}</td><td>${time(row.changed_at)}</td></tr>`;
}
