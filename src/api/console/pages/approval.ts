import type { Action, Field, Form } from '../actions.ts';

/** An approval is of the content that was looked at when its page was made, and of nothing else. */

export const lookedAt = (contentSha256?: string): Field => ({ name: 'contentSha256', label: '', kind: 'hidden', value: contentSha256 });

/** @param path of the API where the content is */
export const contentAt =
  (path: (id: string) => string): NonNullable<Action['fields']> =>
  async (visit, [id = '']) => [lookedAt((await visit.get<{ readonly contentSha256?: string }>(path(id))).contentSha256)];

/** For the body of the request. */
export const contentOf = (form: Form) => ({ contentSha256: form.text('contentSha256') });
