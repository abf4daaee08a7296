import type { Field, Form } from '../actions.ts';

/** The fields that limit a person or a token to a part of the project. */

export const scopeFields: readonly [Field, Field, Field] = [
  { name: 'lines', label: 'Only these lines', isOptional: true, hint: 'Separated by spaces. Without any limit: everything.' },
  { name: 'jobs', label: 'Only these jobs', isOptional: true, hint: 'Separated by spaces.' },
  { name: 'sites', label: 'Only these sites', isOptional: true, hint: 'Separated by commas.' },
];

/** `{ scope }` with what was named; nothing without. */
export function scopeIn(form: Form): { readonly scope?: Readonly<Record<string, readonly string[]>> } {
  const sites = (form.text('sites') ?? '').split(',').flatMap(site => site.trim() || []);
  const named = Object.entries({ lines: form.list('lines'), jobs: form.list('jobs'), sites }).filter(([, values]) => values.length > 0);
  return named.length === 0 ? {} : { scope: Object.fromEntries(named) };
}
