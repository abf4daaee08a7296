import { html } from 'hono/html';

/** The frame of every console page. Everything comes from this server: the Content-Security-Policy allows nothing else. */

export type Html = ReturnType<typeof html>;

export function page(title: string, person: string | undefined, content: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · NuSEC</title>
<link rel="icon" href="/console/assets/icon.svg">
<link rel="stylesheet" href="/console/assets/console.css">
<script src="/console/assets/htmx.js" defer></script>
</head>
<body>
<header class="bar">
<a class="brand" href="/console"><span class="mark" aria-hidden="true"></span>NuSEC</a>
${
  person === undefined
    ? ''
    : html`<nav><a href="/console">Fleet</a></nav>
<form class="who" method="post" action="/console/sign-out"><span>${person}</span><button>Sign out</button></form>`
}
</header>
<main>${content}</main>
</body>
</html>`;
}

/** A status as a coloured pill; the word is there for those who see no colour. */
export const pill = (word: string): Html => html`<span class="pill ${tone(word)}">${word.toLowerCase().replaceAll('_', ' ')}</span>`;

const tones: Readonly<Record<string, readonly string[]>> = {
  good: ['IN_SERVICE', 'STOCK', 'PROVISIONED', 'passed', 'verified'],
  busy: ['MINTED', 'CERTIFIED', 'ROOTED', 'LOCKED', 'UPGRADING', 'RMA'],
  bad: ['REVOKED', 'QUARANTINED', 'SUSPENDED', 'SCRAPPED', 'FAILED', 'failed', 'damaged'],
};

const tone = (word: string): string => Object.keys(tones).find(name => tones[name]?.includes(word)) ?? 'quiet';

/** `2026-01-31 12:00:00.123` with the full ISO text behind it. */
export const time = (iso: string): Html => html`<time datetime="${iso}" title="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 23)}</time>`;
