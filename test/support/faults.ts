import type { IncomingMessage } from 'node:http';
import type { ErrorCode } from '../../src/errors.ts';

/** What can go wrong with one call between a machine and the server, and which call it is. */

/** `name` is the last word of the path that is no id: `units` (reserve), `csr`, `commit`, `void`, `images`, `imports`, `zeroise`, `kek`,
 *  `check-in`, `trust-bundle` … */
export type Call = {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
};

export type Answer = { readonly status: number; readonly type: string; readonly body: Uint8Array };

export type Fault =
  /** Never reaches the server; the connection ends. */
  | 'lost'
  /** The server does the work; the connection ends instead of the answer. */
  | 'unanswered'
  /** Reaches the server twice, one after the other; the second answer comes back. */
  | 'twice'
  /** The connection ends, and the server gets the call after the next one: in another order, when nobody waits for it any more. */
  | 'late'
  | { readonly delayMs: number }
  /** Only so many bytes of the answer, head included, then the connection ends. */
  | { readonly cutAtByte: number }
  /** Answered here, the server never sees it. With a code it is a problem document, as the server's own; without, what a balancer says. */
  | { readonly status: number; readonly code?: ErrorCode }
  /** Another answer than the server gave. */
  | { readonly instead: (given: Answer) => Answer | Promise<Answer> };

export type FaultRule = (call: Call) => Fault | undefined;

export const noFault: FaultRule = () => undefined;

/** A rule for one call by its name. @param times for how many such calls; default: all of them */
export function failing(name: string, fault: Fault, times = Number.POSITIVE_INFINITY): FaultRule {
  let left = times;
  return call => (call.name === name && left-- > 0 ? fault : undefined);
}

export function callOf({ method = '', url = '', headers }: IncomingMessage, bytes: Uint8Array): Call {
  const path = url.split('?')[0] ?? '';
  const isId = (word: string): boolean => /^([0-9a-f]{32}|[0-9a-f]{64}|\d+)$/.test(word);
  const name = path.split('/').findLast(word => word !== '' && !isId(word)) ?? '';
  const isJson = headers['content-type'] === 'application/json' && bytes.length > 0;
  return { name, method, path: url, body: isJson ? JSON.parse(new TextDecoder().decode(bytes)) : {} };
}

/** The answer that replaces the server's where a fault gives a status. */
export function refusal({ status, code }: { readonly status: number; readonly code?: ErrorCode }): Answer {
  const [type, text] = code
    ? [
        'application/problem+json',
        JSON.stringify({ type: `urn:nusec:problem:${code}`, title: code, status, code, detail: 'as the test wants it' }),
      ]
    : ['text/html', '<html>the balancer has no server</html>'];
  return { status, type, body: new TextEncoder().encode(text) };
}

/** The server's JSON answer, changed: what a server that is wrong would say. */
export const changedJson =
  (change: (json: Record<string, unknown>) => Record<string, unknown> | Promise<Record<string, unknown>>) =>
  async (given: Answer): Promise<Answer> => ({
    status: 200,
    type: 'application/json',
    body: new TextEncoder().encode(JSON.stringify(await change(JSON.parse(new TextDecoder().decode(given.body))))),
  });
