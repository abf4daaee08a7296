import { closeSync, openSync, writeSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { subjectKinds } from '../domain/subjects.ts';
import { NusecError } from '../errors.ts';
import { ask, listOnce, type ServerOptions, subcommandsOf, withServer } from './client.ts';
import { act, type Confirmed, withConfirmation } from './confirm.ts';
import { print, record, table } from './output.ts';

type Erasure = { readonly status: string; readonly proposedBy?: string; readonly reason?: string; readonly contentSha256?: string };
type Subject = { readonly id: string; readonly kind: string; readonly name: string; readonly since: string; readonly erasure?: Erasure };
type Page = { readonly events: readonly object[]; readonly next: number; readonly head: number };
type ExportOptions = ServerOptions & { readonly out: string };
type EraseOptions = Confirmed & { readonly reason: string };

/** `nusec subject`: people in the log. What is known of one is exported for them; two administrators erase one. */
export function registerSubject(program: Command): void {
  const subject = program
    .command('subject')
    .description('people in the log: what is known of one (GDPR article 15), and erasure by two administrators (article 17)');
  const command = subcommandsOf(subject);
  command('list', 'everybody whom the log names and who is not erased', 'list', 'list --json').action(list);
  command(
    'export <kind> <name>',
    'everything in the log that somebody did and that names them, as JSON lines',
    'export operator carol --out carol.jsonl',
  )
    .requiredOption('--out <file>', 'is written, mode 600')
    .action(exportData);
  withConfirmation(
    command(
      'erase <kind> <name>',
      'destroy the key of somebody: one administrator proposes, another gives the same command; it cannot be undone',
      'erase operator carol --reason "left the company; asked for it on 2026-11-20" --yes',
      'erase site "Example CM" --reason "one-person business, contract ended" --yes',
    ),
  )
    .requiredOption('--reason <text>', 'for people; it is recorded')
    .action(erase);
}

async function list(options: ServerOptions): Promise<void> {
  const subjects = await listOnce<Subject>(options, '/v1/subjects', 'subjects');
  const rows = subjects.map(({ id, kind, name, since, erasure }) => [kind, name, since, id, erasure?.status ?? '']);
  print(options, subjects, table(['KIND', 'NAME', 'SINCE', 'ID', 'ERASURE'], rows));
}

async function find(options: ServerOptions, kind: string, name: string): Promise<Subject> {
  if (!subjectKinds.some(known => known === kind)) throw new InvalidArgumentError(`a kind is ${subjectKinds.join(', ')}`);
  const { subjects } = await ask<{ subjects: readonly Subject[] }>(options, 'GET', '/v1/subjects');
  const found = subjects.find(each => each.kind === kind && each.name === name);
  if (found === undefined) throw new NusecError('NOT_FOUND', `the log names no ${kind} ${name}, or they are erased: nusec subject list`);
  return found;
}

async function exportData(kind: string, name: string, { out, ...options }: ExportOptions): Promise<void> {
  const { id, since } = await find(options, kind, name);
  const output = openSync(out, 'w', 0o600);
  let events = 0;
  try {
    const write = (line: object): void => void writeSync(output, `${JSON.stringify(line)}\n`);
    write({ kind, name, id, since });
    await withServer(options, async server => {
      for (let [after, head] = [0, 1]; after < head; ) {
        const page = await server.json<Page>('GET', `/v1/subjects/${id}/data?after=${after}`);
        page.events.forEach(write);
        events += page.events.length;
        if (page.next <= after) break;
        [after, head] = [page.next, page.head];
      }
    });
  } finally {
    closeSync(output);
  }
  print(options, { file: out, id, events }, record({ file: out, events, 'id in the log': id }));
}

async function erase(kind: string, name: string, { reason, ...options }: EraseOptions): Promise<void> {
  const { id, erasure } = await find(options, kind, name);
  const what =
    erasure?.contentSha256 !== undefined ? `erased for good (${erasure.proposedBy}: ${erasure.reason})` : 'proposed to be erased';
  const deed = {
    what: `${kind} ${name} (${id}) is ${what}: nobody can read any more who they were and what they wrote.`,
    ...({ name, method: 'POST', path: `/v1/subjects/${id}/erase` } as const),
    // Whoever sees no proposal of another person proposes.
    body: { reason, contentSha256: erasure?.contentSha256 },
  };
  await act<Erasure>(options, deed, done => {
    const next = done.status === 'PROPOSED' ? '\n\nanother administrator gives the same command within seven days' : '';
    print(options, { id, ...done }, record({ kind, id, status: done.status }) + next);
  });
}
