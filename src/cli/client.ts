import { existsSync, readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { NusecError } from '../errors.ts';
import { httpsUrl, oneOf } from './options.ts';
import { type Output, outputs } from './output.ts';
import { currentProfile } from './profiles.ts';

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

/** Adds --server, --ca, --token-file and --json to a command. Each has an environment variable, so that scripts stay short. */
export function withServerOptions(command: Command): Command {
  const profile = currentProfile();
  const server = profile?.server ?? 'https://localhost:8443';
  const [ca, tokenFile] = [process.env.NUSEC_CA ?? profile?.ca, process.env.NUSEC_TOKEN_FILE ?? profile?.tokenFile];
  return command
    .addOption(new Option('--server <url>', 'the API').env('NUSEC_SERVER').default(server).argParser(httpsUrl))
    .option('--ca <file>', 'root certificate, PEM; `nusec init` writes DATA/root.pem (NUSEC_CA)', ca)
    .option('--token-file <file>', 'your bearer token (NUSEC_TOKEN_FILE, or the token itself in NUSEC_TOKEN)', tokenFile)
    .option('--json', 'print JSON instead of text, as -o json')
    .addOption(new Option('-o, --output <format>', `one of ${outputs.join(', ')}`).argParser(oneOf(outputs)))
    .option('--utc', 'times as the log has them; local ones are shown on a terminal');
}

/** An HTTP client for these options. What it takes is loaded now: a help page needs none of it.
 *  @throws NusecError BAD_REQUEST when the root certificate or the token is missing */
async function serverClient(options: ServerOptions): Promise<HttpClient> {
  const token = process.env.NUSEC_TOKEN ?? (options.tokenFile ? readText(options.tokenFile, 'token file') : undefined);
  if (!token) throw new NusecError('UNAUTHENTICATED', 'no token: give --token-file FILE or set NUSEC_TOKEN_FILE');
  const ca = rootCertificate(options);
  const { createHttpClient } = await import('../../gateway-device/link/httpClient.ts');
  const { rememberBundles } = await import('./knownBundles.ts');
  return createHttpClient({ baseUrl: options.server, ca, token: token.trim(), keepBundle: rememberBundles(ca) });
}

export function rootCertificate(options: Pick<ServerOptions, 'ca'>): string {
  if (!options.ca) throw new NusecError('BAD_REQUEST', 'no root certificate: give --ca FILE or set NUSEC_CA');
  return readText(options.ca, 'root certificate');
}

/** @throws NusecError NOT_FOUND */
export function requireFile(file: string, what: string): void {
  if (!existsSync(file)) throw new NusecError('NOT_FOUND', `${what} ${file} does not exist`);
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

/** One JSON request to the server. */
export const ask = <T>(options: ServerOptions, method: string, path: string, body?: unknown): Promise<T> =>
  withServer(options, server => server.json<T>(method, path, body));

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
    return rows.filter(row => (options.filter ?? []).every(fits => fits(row)));
  });
}

export type Look = { readonly content?: string };
/** What an approver looked at: refused when it has changed since. */
export const withLook = (command: Command): Command =>
  command.option('--content <sha256>', 'contentSha256 of what you looked at: refused when it has changed since');
export const lookOf = ({ content }: Look) => (content === undefined ? {} : { contentSha256: content });

type RowFilter = (row: unknown) => boolean;

/** `status=ACTIVE`, `status!=ACTIVE`, `name~hall`: a field of the row is, is not, or contains. */
function rowFilter(text: string, before: readonly RowFilter[] = []): readonly RowFilter[] {
  const [, field = '', how, wanted = ''] = /^([A-Za-z]\w*)(=|!=|~)(.*)$/.exec(text) ?? [];
  if (how === undefined) throw new InvalidArgumentError('It takes field=value, field!=value or field~text.');
  const fits: RowFilter = row => {
    const value = (row as Record<string, unknown>)[field];
    const found = typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '');
    return how === '~' ? found.includes(wanted) : (found === wanted) === (how === '=');
  };
  return [...before, fits];
}

/** Lists are also filtered and watched. */
function withListOptions(command: Command): Command {
  withServerOptions(command);
  if (!/^(list|show|status)$/.test(command.name())) return command;
  if (command.name() === 'list')
    command.option('--filter <field=value>', 'only rows that fit, also != and ~ (contains); several may be given', rowFilter);
  return command.option('--watch', 'again every two seconds, until Ctrl-C');
}

/** Makes the subcommands of one group: with the server's options, and with examples under its help. */
export const subcommandsOf =
  (group: Command, path = group.name()) =>
  (usage: string, description: string, ...examples: readonly string[]): Command =>
    withListOptions(
      group
        .command(usage)
        .description(description)
        .addHelpText('after', `\nExamples:\n${examples.map(text => `  $ nusec ${path} ${text}`).join('\n')}`),
    );
