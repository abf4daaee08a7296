import type { Command } from 'commander';
import { ask, type ServerOptions, subcommandsOf } from './client.ts';
import { wholeNumber } from './options.ts';
import { print, record, table } from './output.ts';

type FollowerRow = {
  readonly name: string;
  readonly position: number;
  readonly behindEvents: number;
  readonly failure?: string;
  readonly standsBefore?: number;
};
type ParkedRow = {
  readonly follower: string;
  readonly position: number;
  readonly status: 'PROPOSED' | 'PARKED';
  readonly reason: string;
  readonly contentSha256: string;
};
type Park = ServerOptions & { readonly follower: string; readonly reason: string; readonly content?: string };

/** The followers of the log in the server, and events that they are to skip. */
export function registerParkedEvents(log: Command): void {
  const command = subcommandsOf(log);
  command('followers', 'what follows the log in the server, and where it stands', 'followers --json').action(showFollowers);
  command(
    'park <position>',
    'let a follower go on without the event it stands before: one person proposes, another says the same',
    'park 4711 --follower "read model devices" --reason "written by a test tool"',
  )
    .requiredOption('--follower <name>', 'as `nusec log followers` names it')
    .requiredOption('--reason <text>', 'for people; it is recorded')
    .option('--content <sha256>', 'contentSha256 of the proposal that you looked at (`nusec log parked`): refused when it is another one')
    .action(park);
  command('parked', 'events that followers go on without', 'parked').action(showParked);
}

async function showFollowers(options: ServerOptions): Promise<void> {
  const { followers } = await ask<{ followers: readonly FollowerRow[] }>(options, 'GET', '/v1/log/followers');
  const rows = followers.map(({ name, position, behindEvents, standsBefore, failure }) => [
    name,
    String(position),
    String(behindEvents),
    standsBefore === undefined ? '' : String(standsBefore),
    failure ?? '',
  ]);
  print(options, followers, table(['FOLLOWER', 'POSITION', 'BEHIND', 'STANDS BEFORE', 'FAILURE'], rows));
}

async function park(position: string, { follower, reason, content, ...options }: Park): Promise<void> {
  const wish = { follower, reason, position: wholeNumber(1, Number.MAX_SAFE_INTEGER)(position), contentSha256: content };
  const parked = await ask<ParkedRow>(options, 'POST', '/v1/log/parked', wish);
  const next = parked.status === 'PROPOSED' ? `\n\nanother person gives the same command, with --content ${parked.contentSha256}` : '';
  print(options, parked, record(parked) + next);
}

async function showParked(options: ServerOptions): Promise<void> {
  const { parked } = await ask<{ parked: readonly ParkedRow[] }>(options, 'GET', '/v1/log/parked');
  const rows = parked.map(({ position, follower, status, reason, contentSha256 }) => [
    String(position),
    follower,
    status,
    reason,
    contentSha256,
  ]);
  print(options, parked, table(['POSITION', 'FOLLOWER', 'STATUS', 'REASON', 'CONTENT'], rows));
}
