import { randomUUID } from 'node:crypto';
import { html } from 'hono/html';
import { utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Role } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import type { Html, Page } from './layout.ts';
import { optionsOf } from './parts.ts';
import type { ApiRequest, Visit } from './visit.ts';

/** What people do in the console. An action is one request of the API, with a page that says what will happen and asks for what the API asks for.
 *  The page works without scripts; a refusal comes back as a sentence above what was typed. */

export type Field = {
  readonly name: string;
  readonly label: string;
  /** `text` when not given. */
  readonly kind?: 'text' | 'number' | 'date' | 'select' | 'lines' | 'file' | 'check' | 'hidden' | 'choices';
  readonly options?: readonly (string | readonly [string, string])[];
  readonly value?: string | undefined;
  readonly hint?: string;
  readonly isOptional?: boolean;
  /** What few need: folded in, unless something is in it. */
  readonly isFurther?: boolean;
};

/** What was filled in: text by name, several values joined by line feeds, and bytes of files. */
export type Form = {
  text(name: string): string | undefined;
  number(name: string): number | undefined;
  list(name: string): readonly string[];
  file(name: string): Uint8Array<ArrayBuffer>;
  /** Every text that is not empty. */
  texts(): readonly (readonly [string, string])[];
};

export type Action = {
  readonly label: string;
  readonly title: (ids: readonly string[]) => string;
  /** What it means, before it is done. */
  readonly about: string;
  /** Who is offered it. */
  readonly roles: readonly Role[];
  readonly tone?: 'danger' | 'primary';
  readonly fields?: readonly Field[] | ((visit: Visit, ids: readonly string[]) => Promise<readonly Field[]>);
  /** What is looked at before it is approved. */
  readonly look?: (visit: Visit, ids: readonly string[]) => Promise<Html>;
  /** What the person types before something that cannot be undone. */
  readonly typed?: (ids: readonly string[]) => string;
  readonly request: (ids: readonly string[], form: Form) => ApiRequest;
  readonly back: (ids: readonly string[]) => string;
  /** Said afterwards, on the page that it leads back to. */
  readonly done: string;
  /** Where to instead of back. */
  readonly to?: (answer: Record<string, unknown>, ids: readonly string[]) => string;
  /** Shown instead, where the answer is to be seen once. */
  readonly answer?: (answer: Record<string, unknown>, ids: readonly string[]) => Html;
  /** The answer is a file by this name. */
  readonly fileName?: (ids: readonly string[]) => string;
};

export type Actions = Readonly<Record<string, Action>>;

export const maxIdsInPath = 2;
const idForm = /^[A-Za-z0-9._-]{1,128}$/;

/** The button that leads to an action; nothing for those who may not. @param query fills fields in */
export function actionLink(visit: Visit, actions: Actions, name: string, ids: readonly string[] = [], query = ''): Html {
  const action = actions[name];
  if (action === undefined || !visit.may(...action.roles)) return html``;
  return html`<a class="button ${action.tone ?? ''}" href="/console/do/${[name, ...ids].join('/')}${query}">${action.label}</a>`;
}

/** @throws NusecError NOT_FOUND */
export function findAction(actions: Actions, name: string, ids: readonly string[]): Action {
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (action === undefined || !ids.every(id => idForm.test(id))) throw new NusecError('NOT_FOUND', 'there is no such action');
  return action;
}

/** @param filled what was typed before, with the refusal that it met */
export async function actionPage(visit: Visit, action: Action, ids: readonly string[], filled?: Form, refusal?: Html): Promise<Page> {
  const known = typeof action.fields === 'function' ? await action.fields(visit, ids) : (action.fields ?? []);
  const look = action.look === undefined ? '' : html`<div class="card look">${await action.look(visit, ids)}</div>`;
  const title = action.title(ids);
  const typed = action.typed?.(ids);
  const fields = typed === undefined ? known : [...known, { name: 'typed', label: `Type ${typed} to confirm` }];
  const hasFile = known.some(({ kind }) => kind === 'file');
  const filledIn = ({ name, value }: Field) => filled?.text(name) ?? visit.query(name) ?? value ?? '';
  const input = (field: Field): Html => inputOf(field, filledIn(field));
  const content = html`<div class="narrow"><h1>${title}</h1><p class="about">${action.about}</p>${look}
<form class="action" method="post" ${hasFile ? html`enctype="multipart/form-data"` : ''}>
${refusal ?? ''}
<input type="hidden" name="request" value="${randomUUID()}">
${fields.filter(field => !field.isFurther).map(input)}
${further(fields, input, filledIn)}
<div class="buttons"><button class="${action.tone ?? 'primary'}">${action.label}</button><a href="${action.back(ids)}">Cancel</a></div>
</form></div>`;
  return { title, content };
}

function further(fields: readonly Field[], input: (field: Field) => Html, filledIn: (field: Field) => string): Html {
  const more = fields.filter(({ isFurther }) => isFurther);
  if (more.length === 0) return html``;
  return html`<details class="further" ${more.some(field => filledIn(field) !== '') ? html`open` : ''}><summary>More</summary>${more.map(input)}</details>`;
}

/** The refusal of an action: the sentence of the API under its title. */
export const refusalOf = (title: string, error: NusecError): Html =>
  html`<div class="problem" role="alert" id="refusal"><strong>${title}</strong><p>${error.message}</p><p class="code"><code>${error.code}</code></p></div>`;

function inputOf(field: Field, value: string): Html {
  const { name, label, kind = 'text', options = [], hint, isOptional } = field;
  const at = `field-${name}`;
  if (kind === 'hidden') return html`<input type="hidden" name="${name}" value="${value}">`;
  const required = isOptional || kind === 'check' ? '' : html`required`;
  const described = hint === undefined ? '' : html`aria-describedby="${at}-hint"`;
  const note = hint === undefined ? '' : html`<p class="hint" id="${at}-hint">${hint}</p>`;
  if (kind === 'check')
    return html`<div class="field check"><input id="${at}" name="${name}" type="checkbox" value="true" ${value === 'true' ? html`checked` : ''} ${described}><label for="${at}">${label}</label>${note}</div>`;
  if (kind === 'choices')
    return html`<fieldset class="field"><legend>${label}</legend>${options.map(option => {
      const [key, text] = typeof option === 'string' ? [option, option] : option;
      const isOn = value.split('\n').includes(key);
      return html`<label class="choice"><input type="checkbox" name="${name}" value="${key}" ${isOn ? html`checked` : ''}> ${text}</label>`;
    })}${note}</fieldset>`;
  const input = {
    text: html`<input id="${at}" name="${name}" value="${value}" autocomplete="off" spellcheck="false" ${required} ${described}>`,
    number: html`<input id="${at}" name="${name}" value="${value}" type="number" min="0" ${required} ${described}>`,
    date: html`<input id="${at}" name="${name}" value="${value}" type="date" ${required} ${described}>`,
    select: html`<select id="${at}" name="${name}" ${required} ${described}>${optionsOf(isOptional ? [['', 'none'], ...options] : options, value)}</select>`,
    lines: html`<textarea id="${at}" name="${name}" rows="6" spellcheck="false" ${required} ${described}>${value}</textarea>`,
    file: html`<input id="${at}" name="${name}" type="file" ${required} ${described}>`,
  }[kind];
  return html`<div class="field"><label for="${at}">${label}${isOptional ? html` <span class="none">(optional)</span>` : ''}</label>${input}${note}</div>`;
}

/** Asks for the authenticator of the person: the same form again, with what the browser is to sign. The script sends it.
 *  @throws NusecError STATE when the person has registered none at this address */
export async function confirmPage(visit: Visit, action: Action, ids: readonly string[], form: Form): Promise<Page> {
  const { path, body } = action.request(ids, form);
  const bytes = body instanceof Uint8Array ? body : utf8(body === undefined ? '' : JSON.stringify(body));
  const wish = { path, bodySha256: sha256Hex(bytes) };
  const answer = await visit.send({ method: 'POST', path: '/v1/operators/me/confirmations', body: wish });
  const kept = form.texts().filter(([name]) => !name.startsWith('webauthn-') && name !== 'confirmation');
  const title = action.title(ids);
  const look = action.look === undefined ? '' : html`<div class="card look">${await action.look(visit, ids)}</div>`;
  const content = html`<div class="narrow"><h1>${title}</h1><p class="about">Confirm it with your authenticator. What it signs is this approval and nothing else.</p>${look}
<form class="action" method="post">
<div class="problem" role="alert" hidden></div>
${kept.map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
<input type="hidden" name="confirmation" value="">
<input type="hidden" name="webauthn-get" value="${JSON.stringify(await answer.json())}">
<div class="buttons"><button class="primary" autofocus>Confirm</button><a href="${action.back(ids)}">Cancel</a></div>
</form></div>`;
  return { title, content };
}

/** Reads a form as browsers send it. */
export async function readForm(body: Readonly<Record<string, string | File | (string | File)[]>>): Promise<Form> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const texts = new Map<string, string>();
  for (const [name, value] of Object.entries(body)) {
    if (value instanceof File) files.set(name, new Uint8Array(await value.arrayBuffer()));
    else
      texts.set(
        name,
        [value]
          .flat()
          .filter(part => typeof part === 'string')
          .join('\n')
          .replaceAll('\r\n', '\n')
          .trim(),
      );
  }
  const text = (name: string) => texts.get(name) || undefined;
  return {
    text,
    number(name) {
      const given = text(name);
      if (given === undefined) return undefined;
      if (!/^\d{1,16}$/.test(given)) throw new NusecError('BAD_REQUEST', `${name} is a whole number`);
      return Number(given);
    },
    list: name => (text(name) ?? '').split(/[\s,]+/).filter(part => part !== ''),
    file: name => files.get(name) ?? new Uint8Array(),
    texts: () => [...texts].filter(([, value]) => value !== ''),
  };
}

/** Does an action. @throws NusecError of the API; BAD_REQUEST unless what is to be typed was typed */
export async function perform(visit: Visit, action: Action, ids: readonly string[], form: Form): Promise<Response> {
  const typed = action.typed?.(ids);
  if (typed !== undefined && form.text('typed') !== typed)
    throw new NusecError('BAD_REQUEST', `type ${typed} to confirm; nothing was done`);
  const request = action.request(ids, form);
  const key = form.text('request');
  // A form that is sent twice is done once.
  const once = request.method === 'POST' && key !== undefined ? { 'Idempotency-Key': key } : {};
  const confirmation = form.text('confirmation');
  const confirmed = confirmation === undefined ? {} : { Confirmation: confirmation };
  return visit.send({ ...request, headers: { ...request.headers, ...once, ...confirmed } });
}
