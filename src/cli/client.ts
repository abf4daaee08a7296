import { readFileSync, statSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { NusecError } from '../errors.ts';
import { httpsUrl, oneOf } from './options.ts';
import { type Output, outputs } from './output.ts';
import { currentProfile, requireProfile } from './profiles.ts';
import { fittingRows, type RowFilter, rowFilter } from './rowFilter.ts';

/** The options by which every command that talks to a server finds it and says who is asking. */
export type ServerOptions = {
  readonly server: string;
  readonly ca?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
  readonly output?: Output;
  /** Rows of a list that fit all of these are shown. */
  readonly filter?: readonly RowFilter[];
};

/** Adds --server, --ca, --token-file and --json to a command, --filter and --watch to lists. Where to has environment variables, so that scripts stay short. */
export function withServerOptions(command: Command): Command {
  const profile = currentProfile();
  const server = profile?.server ?? 'https://localhost:8443';
  const [ca, tokenFile] = [process.env.NUSEC_CA ?? profile?.ca, process.env.NUSEC_TOKEN_FILE ?? profile?.tokenFile];
  command
    .addOption(new Option('--server <url>', 'the API').env('NUSEC_SERVER').default(server).argParser(httpsUrl))
    .option('--ca <file>', 'root certificate, PEM; `nusec init` writes DATA/root.pem (NUSEC_CA)', ca)
    .option('--token-file <file>', 'your bearer token (NUSEC_TOKEN_FILE, or the token itself in NUSEC_TOKEN)', tokenFile)
    .option('--json', 'print JSON instead of text, as -o json')
    .addOption(new Option('-o, --output <format>', `one of ${outputs.join(', ')}`).argParser(oneOf(outputs)))
    .option('--utc', 'times as the log has them; local ones are shown on a terminal')
    .hook('preAction', (_, called) => {
      requirePathParts(called);
      if (called.getOptionValue('output') === 'json') called.setOptionValue('json', true);
    });
  if (!/^(list|show|status)$/.test(command.name())) return command;
  if (command.name() === 'list')
    command.option('--filter <field=value>', 'only rows that fit, also != and ~ (contains); several may be given', rowFilter);
  return command.option('--watch', 'again every two seconds, until Ctrl-C');
}

/** Arguments that become part of an address. */
const inPath = /^(uid|id|job|release|rollout|line|name|ceremony)$/;
/** Keys are called package/1. */
const pathPart = /^(?!\.{1,2}$)[^\s/?#%\\]+(\/\d+)?$/;

/** What has a meaning in an address is no part of an id: another thing would be asked for. @throws NusecError BAD_REQUEST */
function requirePathParts({ registeredArguments, processedArgs }: Command): void {
  // People and sites are looked up by kind and name.
  if (registeredArguments.some(argument => argument.name() === 'kind')) return;
  for (const [index, argument] of registeredArguments.entries())
    for (const text of [processedArgs[index]].flat())
      if (inPath.test(argument.name()) && typeof text === 'string' && !pathPart.test(text))
        throw new NusecError(
          'BAD_REQUEST',
          `${argument.name()}: '${text.slice(0, 64)}' is none: it has letters and digits, and no /, ?, # or blanks`,
        );
}

/** An HTTP client for these options. What it takes is loaded now: a help page needs none of it.
 *  @throws NusecError BAD_REQUEST when the root certificate or the token is missing */
async function serverClient(options: ServerOptions): Promise<HttpClient> {
  requireProfile();
  const token = process.env.NUSEC_TOKEN ?? (options.tokenFile ? readText(options.tokenFile, 'token file') : undefined);
  if (!token) throw new NusecError('UNAUTHENTICATED', 'no token: give --token-file FILE or set NUSEC_TOKEN_FILE');
  if (!/^[\w.-]+$/.test(token.trim()))
    throw new NusecError('UNAUTHENTICATED', 'what was given as token is none: it is one line of letters and digits');
  const ca = rootCertificate(options);
  const { createHttpClient } = await import('../../gateway-device/link/httpClient.ts');
  const { rememberBundles } = await import('./knownBundles.ts');
  return createHttpClient({ baseUrl: options.server, ca, token: token.trim(), keepBundle: rememberBundles(ca) });
}

export function rootCertificate(options: Pick<ServerOptions, 'ca'>): string {
  if (!options.ca) throw new NusecError('BAD_REQUEST', 'no root certificate: give --ca FILE or set NUSEC_CA');
  const pem = readText(options.ca, 'root certificate');
  if (!pem.includes('-----BEGIN CERTIFICATE-----'))
    throw new NusecError('BAD_REQUEST', `${options.ca} is no certificate in PEM: nusec init writes DATA/root.pem`);
  return pem;
}

/** @throws NusecError NOT_FOUND, BAD_REQUEST for a folder; the system's error where this user may not look */
export function requireFile(file: string, what: string): void {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new NusecError('NOT_FOUND', `${what} ${file} does not exist`);
  if (found.isDirectory()) throw new NusecError('BAD_REQUEST', `${what} ${file} is a folder`);
}

export function readText(file: string, what: string): string {
  requireFile(file, what);
  return readFileSync(file, 'utf8');
}

export function readBytes(file: string, what: string): Uint8Array {
  requireFile(file, what);
  return new Uint8Array(readFileSync(file));
}

/** Uses the server and closes the connection, whatever the result. */
export async function withServer<T>(options: ServerOptions, use: (server: HttpClient) => Promise<T>): Promise<T> {
  const server = await serverClient(options);
  try {
    return await use(server);
  } finally {
    server.close();
  }
}

/** One JSON request to the server. @param waits `long` where the server itself waits for somebody */
export const ask = <T>(options: ServerOptions, method: string, path: string, body?: unknown, waits?: 'long'): Promise<T> =>
  withServer(options, server => server.json<T>(method, path, body, waits));

const rowsAtOnce = 500;

/** Every row of a list, page after page. @param path such as `/v1/jobs` @param key where the rows are in an answer */
export async function listAll<Row>(
  options: ServerOptions,
  path: string,
  key: string,
  filter: Readonly<Record<string, string | undefined>> = {},
): Promise<readonly Row[]> {
  const given = Object.entries(filter).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return withServer(options, async server => {
    const rows: Row[] = [];
    let cursor: string | undefined;
    do {
      const query = new URLSearchParams([
        ...given,
        ['limit', String(rowsAtOnce)],
        ...(cursor === undefined ? [] : [['cursor', cursor] as [string, string]]),
      ]);
      const page: { readonly [name: string]: readonly Row[] } & { readonly next?: string } = await server.json('GET', `${path}?${query}`);
      rows.push(...(page[key] ?? []));
      cursor = page.next;
    } while (cursor !== undefined);
    return shownOf(options, server, path, key, rows);
  });
}

/** Those of the rows that `--filter` leaves. */
export const shownOf = <Row>({ filter = [] }: ServerOptions, server: HttpClient, path: string, key: string, rows: readonly Row[]) =>
  fittingRows(rows, filter, { path, key, describe: () => server.json('GET', '/openapi.json') });

/** Every row of a list that comes as one answer. @param key where the rows are in it */
export const listOnce = <Row>(options: ServerOptions, path: string, key: string): Promise<readonly Row[]> =>
  withServer(options, async server => {
    const answer = await server.json<Readonly<Record<string, readonly Row[]>>>('GET', path);
    return shownOf(options, server, path, key, answer[key] ?? []);
  });

export type Look = { readonly content?: string };
/** What an approver looked at: refused when it has changed since. */
export const withLook = (command: Command): Command =>
  command.option('--content <sha256>', 'contentSha256 of what you looked at: refused when it has changed since');
export const lookOf = ({ content }: Look) => (content === undefined ? {} : { contentSha256: content });

/** Makes the subcommands of one group: with the server's options, and with examples under its help. */
export const subcommandsOf =
  (group: Command, path = group.name()) =>
  (usage: string, description: string, ...examples: readonly string[]): Command =>
    withServerOptions(
      group
        .command(usage)
        .description(description)
        .addHelpText('after', `\nExamples:\n${examples.map(text => `  $ nusec ${path} ${text}`).join('\n')}`),
    );
