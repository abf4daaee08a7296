import { type ExpressionBuilder, type Kysely, type SelectQueryBuilder, sql } from 'kysely';
import type { DeviceStatus } from '../domain/deviceStatus.ts';
import type { Scope } from '../domain/roles.ts';
import { type DeviceSelector, upgradableStatuses } from '../domain/rolloutPlan.ts';
import type { DeviceRow, DeviceTables } from './devices.ts';
import type { GatewayTables } from './gateways.ts';
import { type JobTables, jobsInScope } from './jobs.ts';

/** What is asked of the table of devices: pages by a filter, selections for rollouts and bulk actions, counts. */

export type DevicePage = {
  readonly line?: string;
  readonly status?: string;
  readonly jobId?: string;
  /** What they run, by what they last proved. */
  readonly releaseId?: string;
  readonly imageHash?: string;
  readonly version?: string;
  readonly tag?: string;
  /** Those that are attached to this gateway. */
  readonly gatewayId?: string;
  /** Those in use whose trust bundle is older than this one, or unknown. */
  readonly trustBelow?: number;
  /** Those in use that no encrypted image can be made for. */
  readonly withoutEncryptionKey?: boolean;
  /** Of the last attestation; `none` before the first one. */
  readonly attestation?: 'passed' | 'failed' | 'none';
  readonly uidPrefix?: string;
  /** `changed`: what changed last comes first. */
  readonly order?: 'uid' | 'changed';
  /** The last UID, or `changeCursor` of the last row. */
  readonly after?: string;
  readonly limit: number;
  readonly scope?: Scope | undefined;
};

type SelectedPage = {
  readonly line: string;
  readonly releaseId?: string | undefined;
  readonly selectors: readonly DeviceSelector[];
  readonly after?: string | undefined;
  readonly limit: number;
};

type RunningPage = {
  readonly releaseIds: readonly string[];
  readonly after?: string | undefined;
  readonly limit: number;
  readonly scope?: Scope | undefined;
};

type DeviceSelection = {
  readonly lines?: readonly string[] | undefined;
  readonly status?: string | undefined;
  readonly jobId?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
};

const inField: readonly DeviceStatus[] = ['IN_SERVICE', 'UPGRADING', 'QUARANTINED'];
/** Devices that run something and may again. */
const inUse: readonly DeviceStatus[] = ['STOCK', ...inField, 'SUSPENDED', 'RMA'];
const runs = (releaseIds: readonly string[]) => (eb: ExpressionBuilder<DeviceTables, 'devices'>) =>
  eb.and([eb('status', 'in', inUse), eb.or([eb('release_id', 'in', releaseIds), eb('bootloader_release_id', 'in', releaseIds)])]);
const isBehind = (version: number) => (eb: ExpressionBuilder<DeviceTables, 'devices'>) =>
  eb.and([eb('status', 'in', inField), eb.or([eb('trust_bundle_version', '<', version), eb('trust_bundle_version', 'is', null)])]);

/** The cursor of a page in the order of the newest change. */
export const changeCursor = ({ changed_at, uid }: Pick<DeviceRow, 'changed_at' | 'uid'>): string => `${changed_at}~${uid}`;

function newestFirst(query: SelectQueryBuilder<DeviceTables & JobTables, 'devices', DeviceRow>, cursor: string | undefined) {
  const [at = '', uid = ''] = (cursor ?? '').split('~');
  const from = cursor === undefined ? query : query.where(eb => eb(eb.refTuple('changed_at', 'uid'), '<', eb.tuple(at, uid)));
  return from.orderBy('changed_at', 'desc').orderBy('uid', 'desc');
}

/** Devices within a scope, as a query to ask `in`. A device is where its job is. */
export function devicesInScope(db: Kysely<DeviceTables & JobTables>, { sites, ...own }: Scope) {
  let query = db.selectFrom('devices').select('uid');
  if (own.lines !== undefined) query = query.where('line', 'in', own.lines);
  if (own.jobs !== undefined) query = query.where('job_id', 'in', own.jobs);
  if (sites !== undefined) query = query.where('job_id', 'in', jobsInScope(db, { sites }));
  return query;
}

const devicesBehind = (db: Kysely<GatewayTables>, gatewayIds: readonly string[]) =>
  db.selectFrom('gateway_devices').select('uid').where('gateway_id', 'in', gatewayIds);

/** From so many on, rows that fit are looked for in the order of the page. */
const manyRows = 2000;

/** Devices that fit a filter. @param byOrder without an index of the filter: a column with a plus sign before it has none */
function fitting(db: Kysely<DeviceTables & JobTables & GatewayTables>, wish: DevicePage, byOrder: boolean) {
  const { attestation, uidPrefix, tag, gatewayId, trustBelow, withoutEncryptionKey, scope } = wish;
  const equal = {
    line: wish.line,
    status: wish.status,
    job_id: wish.jobId,
    release_id: wish.releaseId,
    image_hash: wish.imageHash,
    version: wish.version,
  };
  const column = (name: string) => (byOrder ? sql<string | null>`+${sql.ref(name)}` : sql<string | null>`${sql.ref(name)}`);
  let query = db.selectFrom('devices');
  for (const [name, value] of Object.entries(equal)) if (value !== undefined) query = query.where(column(name), '=', value);
  if (attestation === 'none') query = query.where(column('attestation'), 'is', null);
  else if (attestation !== undefined) query = query.where(column('attestation'), '=', attestation);
  if (uidPrefix !== undefined) query = query.where('uid', '>=', uidPrefix).where('uid', '<=', uidPrefix.padEnd(32, 'f'));
  if (tag !== undefined) query = query.where('uid', 'in', db.selectFrom('device_tags').select('uid').where('tag', '=', tag));
  if (gatewayId !== undefined) query = query.where('uid', 'in', devicesBehind(db, [gatewayId]));
  if (trustBelow !== undefined) query = query.where(isBehind(trustBelow));
  if (withoutEncryptionKey) query = query.where('has_encryption_key', '=', 0).where('status', 'in', inUse);
  return scope === undefined ? query : query.where('uid', 'in', devicesInScope(db, scope));
}

export const deviceQueries = (db: Kysely<DeviceTables & JobTables & GatewayTables>) => ({
  byUid: (uid: string) => db.selectFrom('devices').selectAll().where('uid', '=', uid).executeTakeFirst(),
  /** UIDs of the devices of these lines, or of all, in order. @param after the last UID of the page before */
  async uids({ lines, status, jobId, after, limit }: DeviceSelection): Promise<readonly string[]> {
    let query = db.selectFrom('devices').select('uid').orderBy('uid').limit(limit);
    if (lines !== undefined) query = query.where('line', 'in', lines);
    if (status !== undefined) query = query.where('status', '=', status as DeviceStatus);
    if (jobId !== undefined) query = query.where('job_id', '=', jobId);
    if (after !== undefined) query = query.where('uid', '>', after);
    return (await query.execute()).map(({ uid }) => uid);
  },
  /** One page, by UID or by the newest change. Where many rows fit, they are met soon in the order of the page; where few do, an index of the filter
   *  finds them, and they are sorted. SQLite knows neither how many fit nor that a page is short, so it is told. */
  async page(wish: DevicePage): Promise<readonly DeviceRow[]> {
    const { order, after, limit } = wish;
    const found = db
      .selectFrom(fitting(db, wish, false).select('uid').limit(manyRows).as('some'))
      .select(({ fn }) => fn.countAll<number>().as('count'));
    const areMany = Number((await found.executeTakeFirst())?.count) === manyRows;
    const query = fitting(db, wish, areMany).selectAll().limit(limit);
    if (order === 'changed') return newestFirst(query, after).execute();
    return (after === undefined ? query : query.where('uid', '>', after)).orderBy('uid').execute();
  },
  /** Devices that a rollout may offer something to, and that every one of the selectors fits. */
  selected({ line, releaseId, selectors, after, limit }: SelectedPage) {
    let query = db.selectFrom('devices').select(['uid', 'image_hash']).where('line', '=', line).orderBy('uid').limit(limit);
    if (!selectors.some(({ statuses }) => statuses !== undefined)) query = query.where('status', 'in', upgradableStatuses);
    if (releaseId !== undefined) query = query.where('release_id', '=', releaseId);
    if (after !== undefined) query = query.where('uid', '>', after);
    for (const { versions, tags, sites, gateways, statuses } of selectors) {
      if (versions !== undefined) query = query.where('version', 'in', versions);
      if (tags !== undefined) query = query.where('uid', 'in', db.selectFrom('device_tags').select('uid').where('tag', 'in', tags));
      if (sites !== undefined) query = query.where('job_id', 'in', jobsInScope(db, { sites }));
      if (gateways !== undefined) query = query.where('uid', 'in', devicesBehind(db, gateways));
      if (statuses !== undefined) query = query.where('status', 'in', statuses);
    }
    return query.execute();
  },
  /** Devices in use that run one of these releases, by what they last proved; the bootloader by what production installed. */
  running({ releaseIds, after, limit, scope }: RunningPage) {
    let query = db.selectFrom('devices').selectAll().where(runs(releaseIds)).orderBy('uid').limit(limit);
    if (after !== undefined) query = query.where('uid', '>', after);
    if (scope !== undefined) query = query.where('uid', 'in', devicesInScope(db, scope));
    return query.execute();
  },
  /** How many devices in use run each of these releases. */
  async countRunning(releaseIds: readonly string[], scope?: Scope): Promise<ReadonlyMap<string, number>> {
    const counted = await Promise.all(
      (['release_id', 'bootloader_release_id'] as const).map(column => {
        const query = db
          .selectFrom('devices')
          .select([`${column} as release_id`, ({ fn }) => fn.countAll<number>().as('count')])
          .where(column, 'in', releaseIds)
          .where('status', 'in', inUse)
          .groupBy(column);
        return (scope === undefined ? query : query.where('uid', 'in', devicesInScope(db, scope))).execute();
      }),
    );
    return new Map(counted.flat().map(({ release_id, count }) => [release_id ?? '', count]));
  },
  /** How many devices in use run this release, by what they last proved. */
  async countOf(releaseId: string): Promise<number> {
    const counted = db
      .selectFrom('devices')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('release_id', '=', releaseId)
      .where('status', 'in', ['STOCK', ...inField]);
    return (await counted.executeTakeFirstOrThrow()).count;
  },
  /** How many devices of a line in use have which security counter, by what they last proved. */
  counters: (line: string) =>
    db
      .selectFrom('devices')
      .select(['security_counter as counter', ({ fn }) => fn.countAll<number>().as('count')])
      .where('line', '=', line)
      .where('status', 'in', ['STOCK', ...inField])
      .where('security_counter', 'is not', null)
      .groupBy('security_counter')
      .orderBy('security_counter')
      .$narrowType<{ counter: number }>()
      .execute(),
  /** How many devices in use have an older trust bundle than this one, or none that is known. */
  async countBehind(version: number): Promise<number> {
    const counted = db
      .selectFrom('devices')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where(isBehind(version));
    return (await counted.executeTakeFirstOrThrow()).count;
  },
  /** How many devices of a scope are in each state. They are counted one by one. */
  countsIn: (scope: Scope) =>
    db
      .selectFrom('devices')
      .select(['status', ({ fn }) => fn.countAll<number>().as('count')])
      .where('uid', 'in', devicesInScope(db, scope))
      .groupBy('status')
      .execute(),
  /** How many devices of each line are in each state and on each version. */
  counts: () =>
    db
      .selectFrom('device_counts')
      .select(['line', 'status', ({ fn, val }) => fn<string | null>('nullif', ['version', val('')]).as('version'), 'count'])
      .where('count', '>', 0)
      .orderBy('line')
      .execute(),
});
