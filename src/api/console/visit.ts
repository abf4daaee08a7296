import type { Context as HonoContext } from 'hono';
import type { Role } from '../../domain/roles.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import type { ApiEnv } from '../auth.ts';
import type { Api } from '../resource.ts';
import type { Person } from '../sessions.ts';

/** A person who looks at a page. Pages read and act through the API itself, in the same process and as that person: there are no other rights, scopes
 *  and refusals here than there. */

export type Visit = {
  readonly person: Person;
  /** Whether people may sign in by a provider. */
  readonly hasProvider: boolean;
  /** Whether to offer what needs one of these roles; the API decides again. */
  may(...roles: readonly Role[]): boolean;
  /** What the query has under a name, trimmed, several values on lines of their own; undefined when it is empty. */
  query(name: string): string | undefined;
  /** A parameter that the page was called with and has not asked for. */
  strayQuery(): string | undefined;
  /** The address without what the console adds to it. */
  readonly path: string;
  /** Asked once, until something is sent: what a page shows, and the content that is approved on it, are of the same moment. @throws NusecError of the API */
  get<Answer>(path: string): Promise<Answer>;
  /** Every row of a list, page after page. @param key where the rows are in an answer @throws NusecError of the API */
  all<Row>(path: string, key: string): Promise<readonly Row[]>;
  /** What a page can do without when this person may not see it. @throws NusecError other than FORBIDDEN */
  getIfAllowed<Answer>(path: string): Promise<Answer | undefined>;
  /** @throws NusecError of the API */
  send(request: ApiRequest): Promise<Response>;
};

export type ApiRequest = {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** JSON, or bytes of a file. */
  readonly body?: object | Uint8Array<ArrayBuffer> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
};

const rowsAtOnce = 500;

export function visitOf(api: Api, c: HonoContext<ApiEnv>, person: Person, hasProvider: boolean): Visit {
  const send = async ({ method, path, body, headers }: ApiRequest): Promise<Response> => {
    const isFile = body instanceof Uint8Array;
    const type = body === undefined ? {} : { 'Content-Type': isFile ? 'application/octet-stream' : 'application/json' };
    const init = { method, headers: { ...type, ...headers }, ...(body !== undefined && { body: isFile ? body : JSON.stringify(body) }) };
    const answer = await api.request(path, init, { ...c.env, console: person });
    if (answer.ok) return answer;
    const { code, detail } = (await answer.json()) as { readonly code: ErrorCode; readonly detail?: string };
    throw new NusecError(code, detail ?? 'Try again; the log of the server says what happened.');
  };
  const asked = new Set<string>();
  const answers = new Map<string, Promise<unknown>>();
  const ask = async (path: string): Promise<unknown> => (await send({ method: 'GET', path })).json();
  const get = <Answer>(path: string): Promise<Answer> => {
    const answer = answers.get(path) ?? ask(path);
    answers.set(path, answer);
    return answer as Promise<Answer>;
  };
  return {
    person,
    hasProvider,
    may: (...roles) => person.roles.some(role => role === 'administrator' || roles.includes(role)),
    query(name) {
      asked.add(name);
      return c.req.queries(name)?.join('\n').trim() || undefined;
    },
    strayQuery: () => Object.keys(c.req.query()).find(name => !asked.has(name)),
    path: c.req.path,
    get,
    async all<Row>(path: string, key: string) {
      const rows: Row[] = [];
      for (let cursor: string | undefined, isFirst = true; isFirst || cursor !== undefined; isFirst = false) {
        const page = await get<{ readonly next?: string } & Readonly<Record<string, readonly Row[]>>>(
          `${path}${path.includes('?') ? '&' : '?'}limit=${rowsAtOnce}${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
        );
        rows.push(...(page[key] ?? []));
        cursor = page.next;
      }
      return rows;
    },
    async getIfAllowed<Answer>(path: string) {
      try {
        return await get<Answer>(path);
      } catch (error) {
        if (error instanceof NusecError && error.code === 'FORBIDDEN') return undefined;
        throw error;
      }
    },
    send(request) {
      answers.clear();
      return send(request);
    },
  };
}

/** A query of the API from what is known; what is undefined is left out. */
export function queryOf(values: Readonly<Record<string, string | number | undefined>>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined && value !== '') given.set(name, String(value));
  return given.size === 0 ? '' : `?${given}`;
}
