import { html } from 'hono/html';
import type { Person } from '../sessions.ts';
import { type IconName, icon } from './icons.ts';

/** The frame of every console page. Everything comes from this server: the Content-Security-Policy allows nothing else. */

export type Html = ReturnType<typeof html>;

/** What a page consists of. The frame adds the rest. */
export type Page = {
  readonly title: string;
  readonly content: Html;
  /** Whether what it shows follows the log by itself. */
  readonly isLive?: boolean;
  /** Position of the log before it was made: what comes later is a reason to make it again. */
  readonly position?: number;
};

type Link = { readonly path: string; readonly name: string; readonly icon: IconName };

const navigation: readonly (readonly [string, readonly Link[]])[] = [
  ['', [{ path: '/console', name: 'Home', icon: 'home' }]],
  [
    'Field',
    [
      { path: '/console/fleet', name: 'Fleet', icon: 'fleet' },
      { path: '/console/gateways', name: 'Gateways', icon: 'gateways' },
    ],
  ],
  [
    'Factory',
    [
      { path: '/console/jobs', name: 'Production', icon: 'production' },
      { path: '/console/programmers', name: 'Programmers', icon: 'programmers' },
      { path: '/console/series', name: 'Series', icon: 'series' },
    ],
  ],
  [
    'Firmware',
    [
      { path: '/console/lines', name: 'Lines', icon: 'lines' },
      { path: '/console/releases', name: 'Releases', icon: 'releases' },
      { path: '/console/rollouts', name: 'Rollouts', icon: 'rollouts' },
      { path: '/console/vulnerabilities', name: 'Vulnerabilities', icon: 'vulnerabilities' },
    ],
  ],
  [
    'Trust',
    [
      { path: '/console/trust', name: 'Authorities', icon: 'trust' },
      { path: '/console/certificates', name: 'Certificates', icon: 'certificates' },
      { path: '/console/revocations', name: 'Revocations', icon: 'revocations' },
    ],
  ],
  [
    'Oversight',
    [
      { path: '/console/alarms', name: 'Alarms', icon: 'alarms' },
      { path: '/console/audit', name: 'Audit', icon: 'audit' },
      { path: '/console/log', name: 'Log', icon: 'log' },
      { path: '/console/webhooks', name: 'Webhooks', icon: 'webhooks' },
      { path: '/console/people', name: 'People', icon: 'people' },
      { path: '/console/subjects', name: 'People in the log', icon: 'subjects' },
    ],
  ],
];

/** @param path of the request: says which link is the present one @param notice what was done just now */
export function framed(
  { title, content, isLive = false, position = 0 }: Page,
  person: Person | undefined,
  path: string,
  notice?: string,
): Html {
  const main = html`<main id="main" tabindex="-1" ${isLive ? html`hx-get hx-trigger="changed from:#live throttle:1s" hx-select="#main" hx-swap="outerMorph"` : ''}>
${notice === undefined ? '' : html`<p class="notice" role="status">${notice}</p>`}
${content}
</main>`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="htmx-config" content='{"morphIgnore":["data-htmx-powered","open"]}'>
<title>${title} &middot; NuSEC</title>
<link rel="icon" href="/console/assets/icon.svg">
<link rel="stylesheet" href="/console/assets/console.css">
<script src="/console/assets/htmx.js" defer></script>
<script src="/console/assets/console.js" defer></script>
</head>
<body class="${person === undefined ? 'alone' : 'framed'}">
${person === undefined ? html`<header class="bar">${brand}</header>` : html`<a class="skip" href="#main">Skip to the content</a>${sidebar(person, path, isLive ? position : undefined)}`}
${main}
</body>
</html>`;
}

const brand = html`<a class="brand" href="/console"><span class="mark" aria-hidden="true"></span>NuSEC</a>`;

function sidebar(person: Person, path: string, position: number | undefined): Html {
  return html`<header class="bar">
${brand}
<button class="menu" type="button" aria-expanded="false" aria-controls="navigation">Menu</button>
${
  position !== undefined
    ? html`<span id="live" class="live" hx-sse:connect="/console/live?after=${position}" hx-swap="none"><button type="button" id="pause" aria-pressed="false" title="Stop or start following the log">Live</button></span>`
    : html`<span class="live"></span>`
}
<form class="who" method="post" action="/console/sign-out"><a href="/console/people/me">${person.name}</a><button>Sign out</button></form>
</header>
<nav id="navigation" class="sidebar" aria-label="Main">${navigation.map(([group, links]) => html`${group === '' ? '' : html`<h2>${group}</h2>`}<ul>${links.map(link => entry(link, path))}</ul>`)}</nav>`;
}

const entry = (link: Link, path: string): Html => {
  const isHere = link.path === '/console' ? path === link.path : path === link.path || path.startsWith(`${link.path}/`);
  return html`<li><a href="${link.path}" ${isHere ? html`aria-current="page"` : ''}>${icon(link.icon)}<span>${link.name}</span></a></li>`;
};
