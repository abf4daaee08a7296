import { definedOf } from '../../../defined.ts';
import type { Action, Form } from '../actions.ts';

/** What the actions on one kind of thing have in common: the page that they lead back to, how the thing is named, and that a step of it is
 *  `POST {api}/{id}/{step}`. */

type Step = Omit<Action, 'title' | 'back' | 'request'> & {
  /** Before the id of the thing: `Suspend job`. */
  readonly verb: string;
};

/** What most steps ask for. */
const commonBody = (form: Form): object => definedOf({ reason: form.text('reason'), note: form.text('note'), to: form.text('to') });

/** @param idChars of the id that are shown and typed */
export function stepsOf(api: string, pageOf: (id: string) => string, idChars = 32) {
  const back = ([id = '']: readonly string[]): string => pageOf(id);
  const idOf = ([id = '']: readonly string[]): string => id.slice(0, idChars);
  const step = (name: string, { verb, ...action }: Step, bodyOf: (form: Form) => object | undefined = commonBody): Action => ({
    ...action,
    title: ids => `${verb} ${idOf(ids)}`,
    back,
    request: ([id], form) => ({ method: 'POST', path: `${api}/${id}/${name}`, body: bodyOf(form) }),
  });
  return { back, idOf, step };
}
