import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { toPem } from '../../src/pki/pem.ts';
import { asking, type Call, type Site } from '../services/production/plant.ts';

/** Requests to a server over HTTPS, as the tests of production make them. */

export type Machine = { readonly certificate: Uint8Array; readonly keyPem: string };
type Server = { readonly url: string; readonly rootPem: string };

/** People by their tokens, one machine by its key. @param nameOf whose token is meant by the names that those tests use */
export function httpSite(
  { url, rootPem: ca }: Server,
  tokens: ReadonlyMap<string, string>,
  nameOf: (who: string) => string,
  machine?: Machine,
): Site & { close(): void } {
  const open = (options: object): HttpClient => createHttpClient({ baseUrl: url, ca, ...options });
  const people = new Map([...tokens].map(([name, token]) => [name, open({ token })]));
  const own = machine && open({ cert: toPem('CERTIFICATE', machine.certificate), key: machine.keyPem });
  const call: Call = async (who, method, path, body) => {
    const client = typeof who === 'string' ? people.get(nameOf(who)) : own;
    const isText = typeof body === 'string';
    const bytes = body instanceof Uint8Array ? body : new TextEncoder().encode(isText ? body : JSON.stringify(body ?? {}));
    const type = body instanceof Uint8Array ? 'application/octet-stream' : isText ? 'text/plain' : 'application/json';
    try {
      const answer = await (method === 'GET' ? client?.bytes(method, path) : client?.bytes(method, path, bytes, type));
      const text = new TextDecoder().decode(answer);
      return { status: 200, bytes: answer ?? new Uint8Array(), body: text.startsWith('{') ? JSON.parse(text) : text };
    } catch (error) {
      return { status: 400, bytes: new Uint8Array(), body: { code: (error as { code: string }).code } };
    }
  };
  const close = (): void => {
    for (const client of [...people.values(), own]) client?.close();
  };
  return { call, ...asking(call), close };
}
