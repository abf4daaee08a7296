import { InvalidArgumentError } from 'commander';
import { type SelectorText, selectorForm, selectorOf, type WindowText, windowForm, windowOf } from '../domain/rolloutText.ts';

/** Parts of a rollout plan as they are typed: what does not fit is refused where it is typed. */

export function selectorArgument(text: string): SelectorText {
  const selector = selectorOf(text);
  if (selector === undefined) throw new InvalidArgumentError(`It takes ${selectorForm} .`);
  return selector;
}

export function windowArgument(text: string): WindowText {
  const window = windowOf(text);
  if (window === undefined) throw new InvalidArgumentError(`It takes ${windowForm}.`);
  return window;
}
