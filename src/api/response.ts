import { type IncomingMessage, type OutgoingHttpHeader, type OutgoingHttpHeaders, ServerResponse } from 'node:http';

/** What our responses do beside those of Node: they spell headers, and say when a chunk has gone out.
 *
 *  Names of response headers are in their canonical spelling (`Content-Type`). HTTP does not care about case, but some EST clients compare
 *  names byte for byte, and the Headers object of the fetch API gives them in lower case. */

type Sent = (error?: Error | null) => void;
const sent = new WeakMap<Uint8Array, Sent>();

/** Calls back when this very chunk of a body has been written to its connection; never, when it is not. */
export const whenSent = (chunk: Uint8Array, done: Sent): void => void sent.set(chunk, done);

const exceptions: Readonly<Record<string, string>> = { etag: 'ETag', 'www-authenticate': 'WWW-Authenticate' };

/** Names that we answer with: a few dozen. */
const known = new Map<string, string>();
const maxKnown = 500;

function canonicalName(name: string): string {
  const found = known.get(name) ?? spell(name);
  if (known.size < maxKnown) known.set(name, found);
  return found;
}

function spell(name: string): string {
  const lower = name.toLowerCase();
  return exceptions[lower] ?? lower.replace(/(^|-)([a-z])/g, (_, dash: string, letter: string) => dash + letter.toUpperCase());
}

export class ApiResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  override write(chunk: unknown, ...rest: readonly unknown[]): boolean {
    const done = chunk instanceof Uint8Array ? sent.get(chunk) : undefined;
    return super.write(chunk, ...((done === undefined ? rest : [done]) as [Sent]));
  }

  override writeHead(status: number, ...rest: readonly unknown[]): this {
    const headers = rest.at(-1);
    if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return super.writeHead(status, ...(rest as []));
    return super.writeHead(status, canonicalNames(headers as OutgoingHttpHeaders));
  }
}

function canonicalNames(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  const named: Record<string, OutgoingHttpHeader | undefined> = {};
  for (const name in headers) named[canonicalName(name)] = headers[name];
  return named;
}
