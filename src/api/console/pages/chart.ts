import { html } from 'hono/html';
import { minuteMs } from '../../../times.ts';
import type { JobStatusAnswer } from '../../jobViews.ts';
import type { Html } from '../layout.ts';

/** Units that ended in each of the last 60 minutes, as columns: built below, lost on top. */

const shownMinutes = 60;
const columnWidth = 10;
const height = 100;

/** @param now ISO time; for tests */
export function perMinute(minutes: JobStatusAnswer['minutes'], now = new Date().toISOString()): Html {
  if (minutes.length === 0) return html`<p class="none">No unit ended within the last hour.</p>`;
  const byMinute = new Map(minutes.map(row => [row.minute.slice(0, 16), row]));
  const most = Math.max(...minutes.map(({ committed, lost }) => committed + lost));
  const end = Math.floor(Date.parse(now) / minuteMs);
  const columns = Array.from({ length: shownMinutes }, (_, index) => {
    const minute = new Date((end - shownMinutes + 1 + index) * minuteMs).toISOString().slice(0, 16);
    const { committed = 0, lost = 0 } = byMinute.get(minute) ?? {};
    const [built, gone] = [(height * committed) / most, (height * lost) / most];
    const x = index * columnWidth;
    if (committed + lost === 0) return '';
    return html`<g><title>${minute.slice(11)}: ${committed} built, ${lost} lost</title><rect class="good" x="${x}" y="${height - built}" width="${columnWidth - 2}" height="${built}"/><rect class="bad" x="${x}" y="${height - built - gone}" width="${columnWidth - 2}" height="${gone}"/></g>`;
  });
  return html`<figure class="chart-figure"><svg class="chart" viewBox="0 0 ${shownMinutes * columnWidth} ${height}" preserveAspectRatio="none" role="img" aria-label="Units per minute in the last hour, at most ${most}">${columns}</svg><figcaption class="none">Units per minute in the last hour, at most ${most}</figcaption></figure>`;
}
