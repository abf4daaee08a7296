import { type Who, whoMayPass } from '../auth.ts';
import { dryRunSchema, dryRunType } from '../dryRun.ts';
import type { Api } from '../resource.ts';
import { estPaths } from './est.ts';
import { operationNames } from './names.ts';
import { refusalsOf } from './refusals.ts';
import { parameterTexts, tagOf, tags } from './texts.ts';

/** The description of the API (`/openapi.json`, OpenAPI 3.1): what the routes declare, with a name for each operation, who may ask, what each
 *  parameter is, and how each is refused. Nothing here is written twice: rights come from the routes' own middleware, codes from `problem.ts`. */

type Json = Record<string, unknown>;
type Parameter = { name: string; in: string; description?: string; example?: unknown; schema?: Json };
export type Operation = {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  security?: Json[];
  parameters?: Parameter[];
  requestBody?: { content: Json };
  responses: Record<string, Json & { description: string }>;
};
export type Document = {
  readonly components: Json;
  readonly info: { readonly title: string; readonly version: string; readonly summary: string; readonly description: string };
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
};

const about = {
  openapi: '3.1.0',
  info: {
    title: 'NuSEC',
    version: '0.1.0',
    summary: 'Security lifecycle of microcontroller fleets',
    description: `People send a bearer token, machines a client certificate. Lists are paged by \`cursor\` and \`next\`. A POST may carry an
\`Idempotency-Key\`, a change \`If-Match\`, a question \`If-None-Match\`. Refusals are problem documents (RFC 9457) with a stable \`code\`. A method that an address does not take is 405 with \`Allow\`.
CRLs and OCSP are on the plain HTTP port: \`/crl/{icaId}.crl\`, \`/delta/{icaId}.crl\`, \`/ocsp\`.`,
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  servers: [{ url: '/', description: 'this server' }],
};

const securitySchemes = {
  token: { type: 'http', scheme: 'bearer', description: 'Token of a person or a service' },
  clientCertificate: { type: 'mutualTLS', description: 'Certificate of a programmer, gateway or device, issued by this project' },
};

const problem = {
  type: 'object',
  description: 'Problem document (RFC 9457)',
  required: ['type', 'title', 'status', 'code'],
  properties: {
    type: { type: 'string', examples: ['urn:nusec:problem:NOT_FOUND'] },
    title: { type: 'string', description: 'for people' },
    status: { type: 'integer' },
    code: { type: 'string', description: 'stable', examples: ['NOT_FOUND'] },
    detail: { type: 'string', description: 'what was wrong, and what to do next' },
  },
};

export function describeApi(api: Api, rights: Rights): Document {
  const document = api.getOpenAPI31Document(about) as unknown as { paths: Record<string, Record<string, Operation>>; components: Json };
  Object.assign(document.paths, structuredClone(estPaths));
  const names = new Set<string>();
  for (const [path, operations] of Object.entries(document.paths))
    for (const [method, operation] of Object.entries(operations)) {
      describeOperation(method, path, operation, rights.get(`${method} ${path}`));
      operation.operationId = uniqueName(names, operationName(method, path));
    }
  const schemas = { ...(document.components.schemas as Json), Problem: problem, DryRun: dryRunSchema };
  const used = new Set(Object.values(document.paths).flatMap(operations => Object.values(operations).flatMap(one => one.tags ?? [])));
  const described = Object.entries(tags).filter(([name]) => used.has(name));
  return {
    ...document,
    info: about.info,
    tags: described.map(([name, description]) => ({ name, description })),
    components: { ...document.components, schemas, securitySchemes },
  };
}

/** `get /v1/devices/{uid}` → who may. */
export type Rights = Map<string, Who>;

/** Notes the middleware of each route as it is added: the registry of the routes drops it. To be called before the first one. */
export function noteRights(api: Api): Rights {
  const rights: Rights = new Map();
  const add = api.openapi;
  type Declared = { readonly method: string; readonly path: string; readonly middleware?: object | readonly object[] };
  api.openapi = ((route: Declared, ...handlers: readonly unknown[]) => {
    const who = [route.middleware ?? []]
      .flat()
      .map(whoMayPass)
      .find(found => found !== undefined);
    if (who !== undefined) rights.set(`${route.method} ${route.path}`, who);
    return (add as (...all: readonly unknown[]) => unknown)(route, ...handlers);
  }) as typeof api.openapi;
  return rights;
}

function describeOperation(method: string, path: string, operation: Operation, who: Who | undefined): void {
  const [, first = '', second = ''] = path.split('/');
  operation.tags = [tagOf[first === 'v1' ? second : first] ?? 'System'];
  const isMachine = who !== undefined && 'machine' in who;
  operation.security ??= who === undefined ? [] : [isMachine ? { clientCertificate: [] } : { token: [] }];
  if (who !== undefined)
    operation.description ??= isMachine
      ? `For a ${who.machine} with its certificate.`
      : `Roles: ${[...new Set(['administrator', ...who.roles])].join(', ')}.`;
  for (const parameter of operation.parameters ?? []) describeParameter(parameter);
  const isOpen = operation.security.length === 0;
  const asked = {
    method,
    path,
    who: isOpen ? 'anybody' : isMachine || 'clientCertificate' in (operation.security[0] ?? {}) ? 'machine' : 'person',
    hasParameters: path.includes('{'),
  } as const;
  if (operation.parameters?.some(({ name }) => name === 'dryRun')) describeDryRun(operation);
  for (const [status, codes] of refusalsOf(asked)) operation.responses[status] ??= refusal(codes);
}

function describeDryRun(operation: Operation): void {
  const done: Json & { description: string } = operation.responses['200'] ?? { description: 'dry run: nothing was changed' };
  operation.responses['200'] = done;
  done.content = { ...(done.content as Json | undefined), [dryRunType]: { schema: { $ref: '#/components/schemas/DryRun' } } };
}

function describeParameter(parameter: Parameter): void {
  const [text, example] = parameterTexts[parameter.name] ?? [];
  parameter.description ??= (parameter.schema?.description as string | undefined) ?? text ?? parameter.name;
  const pattern = parameter.schema?.pattern as string | undefined;
  const isOfType = typeof example === (parameter.schema?.type === 'integer' ? 'number' : 'string');
  const isFitting = isOfType && (pattern === undefined || new RegExp(pattern).test(String(example)));
  if (isFitting && parameter.schema?.example === undefined && parameter.schema?.enum === undefined) parameter.example = example;
}

const refusal = (codes: readonly string[]): Json & { description: string } => ({
  description: codes.map(code => `\`${code}\``).join(', '),
  content: {
    'application/problem+json': {
      schema: { allOf: [{ $ref: '#/components/schemas/Problem' }, { type: 'object', properties: { code: { enum: codes } } }] },
    },
  },
});

/** `post /v1/devices/{uid}/revoke` → `revokeDevice`, `get /v1/jobs` → `listJobs`, `post /v1/jobs` → `createJob`. */
export function operationName(method: string, path: string): string {
  const own = operationNames[`${method} ${path}`];
  if (own !== undefined) return own;
  const parts = path.split('/').filter(part => part !== '' && part !== 'v1' && part !== '.well-known');
  const words = parts.filter(part => !part.startsWith('{'));
  const isOfOne = parts.at(-1)?.startsWith('{') ?? false;
  const last = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  if (method === 'post' && parts.length > words.length && !isOfOne && !last.endsWith('s')) return camel([last, ...before.map(singular)]);
  if (method === 'get' && !isOfOne && last.endsWith('s')) return camel(['list', ...before.map(singular), last]);
  const verbs: Readonly<Record<string, string>> = { get: 'get', post: 'create', put: 'put', delete: 'delete' };
  return camel([verbs[method] ?? method, ...words.map(singular)]);
}

const singular = (word: string): string => word.replace(/ies$/, 'y').replace(/(?<![su])s$/, '');
function camel(words: readonly string[]): string {
  const [first = '', ...rest] = words.flatMap(word => word.split(/[^A-Za-z0-9]+/)).filter(word => word !== '');
  return first + rest.map(word => (word[0] ?? '').toUpperCase() + word.slice(1)).join('');
}

/** Two operations never have one name: a client would lose one of them. */
function uniqueName(names: Set<string>, name: string): string {
  let free = name;
  for (let count = 2; names.has(free); count++) free = `${name}${count}`;
  names.add(free);
  return free;
}
