import { stripVTControlCharacters, styleText } from 'node:util';
import { InvalidArgumentError } from 'commander';
import { type ErrorCode, NusecError } from '../errors.ts';
import { csv, yaml } from './formats.ts';

/** How the command line speaks: JSON with --json, else short text; colours only on a terminal. */

type Style = Parameters<typeof styleText>[0];

export const styled = (style: Style, text: string): string =>
  process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text;

export const outputs = ['table', 'wide', 'json', 'yaml', 'csv'] as const;
export type Output = (typeof outputs)[number];

/** @param value what JSON, YAML and CSV show @param text what people read: cut to the width of a terminal, except with `wide` */
export function print(options: { readonly json?: boolean; readonly output?: Output }, value: unknown, text: string): void {
  const output = options.json ? 'json' : (options.output ?? 'table');
  process.stdout.write(
    { json: asJson, yaml: asYaml, csv, wide: asText, table: fitted }[output](output === 'table' || output === 'wide' ? text : value),
  );
}

const asJson = (value: unknown): string => `${JSON.stringify(value)}\n`;
const asYaml = (value: unknown): string => `${yaml(value).trimStart()}\n`;
const asText = (text: unknown): string => `${text}\n`;

/** Lines as long as the terminal is wide; elsewhere as they are. */
function fitted(text: unknown): string {
  const columns = process.stdout.isTTY ? process.stdout.columns : undefined;
  const lines = String(text).split('\n');
  return `${lines.map(line => (columns === undefined ? line : fitLine(line, columns))).join('\n')}\n`;
}

/** Cut to a width, without the style of its beginning going on after it. */
export function fitLine(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  if (plain.length <= columns) return line;
  const style = line.startsWith('\u001b') ? line.slice(0, line.indexOf('m') + 1) : '';
  return `${style}${plain.slice(0, columns - 1)}…${style === '' ? '' : '\u001b[0m'}`;
}

/** Times are local on a terminal, unless --utc; everywhere else as the log has them. */
const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
function cellText(cell: string | number | null | undefined): string {
  const text = String(cell ?? '–');
  if (!isoTime.test(text) || !process.stdout.isTTY || process.argv.includes('--utc')) return text;
  const at = new Date(text);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Rows as aligned columns under their names; `(none)` without rows. */
export function table(columns: readonly string[], rows: readonly (readonly (string | number | null | undefined)[])[]): string {
  if (rows.length === 0) return '(none)';
  const cells = rows.map(row => row.map(cellText));
  const widths = columns.map((name, i) => Math.max(name.length, ...cells.map(row => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return [styled('bold', line(columns)), ...cells.map(line)].join('\n');
}

/** A record as `name  value` lines. */
export function record(value: Readonly<Record<string, unknown>>): string {
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
  const width = Math.max(...entries.map(([name]) => name.length));
  const show = (entry: unknown) =>
    entry !== null && typeof entry === 'object' ? JSON.stringify(entry) : cellText(entry as string | number | null);
  return entries.map(([name, entry]) => `${styled('dim', name.padEnd(width))}  ${show(entry)}`).join('\n');
}

/** A line of progress on standard error, so that standard output stays machine-readable. */
export function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What the operating system says, as codes of ours. */
const systemErrors: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['NOT_FOUND', 'does not exist'],
  ENOTDIR: ['BAD_REQUEST', 'is not a folder'],
  EISDIR: ['BAD_REQUEST', 'is a folder'],
  EEXIST: ['CONFLICT', 'exists already'],
  EACCES: ['FORBIDDEN', 'may not be opened by this user'],
  EROFS: ['FORBIDDEN', 'is on a read-only disk'],
  EPERM: ['FORBIDDEN', 'may not be changed by this user'],
};

/** An error with a stable code, whatever it was. */
function known(error: unknown): NusecError {
  if (error instanceof NusecError) return error;
  if (error instanceof InvalidArgumentError) return new NusecError('BAD_REQUEST', error.message, { cause: error });
  const { code = '', path = code === 'EISDIR' ? 'what was named as a file' : undefined } = error as NodeJS.ErrnoException;
  const [own, text] = systemErrors[code] ?? [];
  if (own !== undefined && path !== undefined) return new NusecError(own, `${path} ${text}`, { cause: error });
  return new NusecError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

/** Prints an error with its code and gives the exit status: 2 for a wrong call, 1 for a refusal. */
export function reportError(error: unknown, json: boolean): number {
  const { code, message } = known(error);
  process.stderr.write(json ? errorLine(code, message) : `${styled('red', `error ${code}`)}: ${message}\n`);
  return code === 'BAD_REQUEST' ? 2 : 1;
}

/** One line of JSON on standard error: how errors look with --json. */
export const errorLine = (error: ErrorCode, detail: string): string => `${JSON.stringify({ error, detail })}\n`;
