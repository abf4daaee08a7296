import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { etag } from 'hono/etag';
import type { Api } from '../resource.ts';

/** Style sheet, icon and scripts of the console: files of ours, and htmx as npm installed it. Nothing is fetched from elsewhere. */

const own = (path: string): string => readFileSync(fileURLToPath(new URL(`../../../web/${path}`, import.meta.url)), 'utf8');
const script = 'text/javascript; charset=utf-8';

export function serveAssets(api: Api): void {
  const htmx = readFileSync(fileURLToPath(import.meta.resolve('htmx.org/dist/htmx.min.js')), 'utf8');
  const serverSentEvents = readFileSync(fileURLToPath(import.meta.resolve('htmx.org/dist/ext/hx-sse.min.js')), 'utf8');
  const assets = [
    ['console.css', 'text/css; charset=utf-8', own('console.css')],
    ['console.js', script, own('console.js')],
    ['icon.svg', 'image/svg+xml', own('icon.svg')],
    // One file: htmx looks at the page soon after it has run, and the extension has to be there by then.
    ['htmx.js', script, `${htmx}\n${serverSentEvents}`],
  ] as const;
  api.use('/console/assets/*', etag());
  for (const [name, type, content] of assets)
    api.get(`/console/assets/${name}`, c => c.body(content, 200, { 'Content-Type': type, 'Cache-Control': 'no-cache' }));
}
