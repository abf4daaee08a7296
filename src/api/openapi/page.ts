import { html } from 'hono/html';
import { secureHeaders } from 'hono/secure-headers';
import { framed, type Html } from '../console/layout.ts';
import type { Api } from '../resource.ts';
import type { Document, Operation } from './describe.ts';

/** `/docs`: the description of the API for people to read, made by the server from the same document; nothing comes from elsewhere. */

export function serveDocs(api: Api, describe: () => Document): void {
  const self = ["'self'"];
  api.use('/docs', secureHeaders({ contentSecurityPolicy: { defaultSrc: self, frameAncestors: ["'none'"], baseUri: ["'none'"] } }));
  let page: Html | undefined;
  api.get('/docs/', c => c.redirect('/docs'));
  api.get('/docs', async c => {
    page ??= framed({ title: 'API', content: docs(describe()) }, undefined, c.req.path);
    return c.html(page);
  });
}

type Located = { readonly method: string; readonly path: string; readonly operation: Operation };

function docs({ info, tags, paths }: Document): Html {
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Located => ({ method, path, operation })),
  );
  return html`<h1>${info.title} API ${info.version}</h1>
<p class="about">${info.summary}. The same as <a href="/openapi.json">OpenAPI 3.1</a>, for generators and tools.</p>
<div class="card">${info.description.split('\n').join(' ')}</div>
<ul class="tags">${tags.map(({ name }) => html`<li><a href="#${anchor(name)}">${name}</a></li>`)}</ul>
${tags.map(
  ({ name, description }) => html`<section class="card" id="${anchor(name)}"><h2>${name}</h2><p class="about">${description}</p>
<div class="chapters">${all.filter(({ operation }) => operation.tags?.[0] === name).map(entry)}</div></section>`,
)}`;
}

const anchor = (name: string): string => name.toLowerCase().replaceAll(' ', '-');

function entry({ method, path, operation }: Located): Html {
  const { operationId, summary, description, parameters = [], responses, requestBody } = operation;
  return html`<details id="${operationId}"><summary><code class="method">${method.toUpperCase()}</code> <code>${path}</code> <span class="none">${summary}</span></summary>
${description === undefined ? '' : html`<p>${description}</p>`}
${parameters.length === 0 ? '' : html`<h3>Parameters</h3><dl class="small">${parameters.map(({ name, in: where, description: text }) => html`<div><dt><code>${name}</code> in ${where}</dt><dd>${text}</dd></div>`)}</dl>`}
${requestBody === undefined ? '' : html`<h3>Body</h3><pre class="record" tabindex="0">${JSON.stringify(requestBody.content, undefined, 1)}</pre>`}
<h3>Answers</h3><dl class="small">${Object.entries(responses).map(([status, { description: text }]) => html`<div><dt>${status}</dt><dd>${text}</dd></div>`)}</dl></details>`;
}
