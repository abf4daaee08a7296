import { NusecError } from '../errors.ts';

/** What the commands share that run until they are stopped: a chip, a programmer, a gateway, a server. */

/** @throws NusecError BAD_REQUEST when the text is not host:port */
export function hostPort(text: string): { readonly host: string; readonly port: number } {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (!host || !port) throw new NusecError('BAD_REQUEST', `${text} is not host:port`);
  return { host, port: Number(port) };
}

/** `name=value name=value`: an event for people. */
export const fieldsText = (fields: object): string =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

/** Resolves on SIGINT or SIGTERM. */
export function untilStopped(): Promise<void> {
  return new Promise(resolve => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
