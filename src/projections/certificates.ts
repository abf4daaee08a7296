import { hash } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import { fromBase64url } from '../bytes.ts';
import type { CrlList, InList } from '../domain/crlList.ts';
import type { EventMap, EventType } from '../domain/events.ts';
import type { Scope } from '../domain/roles.ts';
import type { CertificateKind } from '../domain/storeEvents.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { parseCertificate } from '../pki/parse.ts';
import { devicesInScope } from './deviceQueries.ts';
import type { DeviceTables } from './devices.ts';
import type { JobTables } from './jobs.ts';
import { on, type Projection, subjectOf } from './projection.ts';

/** Certificate inventory: every certificate of this project, issued, expired or revoked (R86, RULE-16): of devices, programmers and gateways,
 *  of the server, of OCSP signers, of issuing CAs and of the root. */

export type CertificateRow = {
  serial: string;
  kind: CertificateKind;
  /** UID, gateway id, first name of a server, id of an issuing CA or root. */
  subject: string;
  /** The issuing CA, or the id of the root for what a root issued. */
  ica_id: string;
  sha256: string;
  issued_at: string;
  not_after: string;
  /** RFC 5280 reason; null while valid. */
  reason: string | null;
  revoked_at: string | null;
  expired: number;
  /** 1 once it was on hold: only then a delta CRL may have to say removeFromCRL. */
  was_held: number;
  /** Days before its end of the last notice; 10 000 before the first one. */
  noticed_days: number;
  /** Position of the event that changed the row last. */
  position: number;
  /** Which list of its authority it is on when it is revoked. */
  crl_partition: number;
  /** Blanks that make room for reason and time: a row that does not grow does not split its page. */
  room: string;
};
export type CertificateTables = { certificates: CertificateRow; crl_partitions: CrlPartitionRow };

/** The longest reason, and a time. */
const roomBytes = 48;
/** As many revoked certificates are sorted for a page; where there are more, a page is soon found among all. */
const maxSorted = 2000;

type CrlPartitionRow = { ica_id: string; partition: number; certificates: number };
/** Events that end all certificates of a machine or put them on hold, with the reason written into the CRL. */
const endings = {
  ProgrammerReportedStolen: 'keyCompromise',
  ProgrammerRevoked: 'privilegeWithdrawn',
  ProgrammerRetired: 'cessationOfOperation',
  ProgrammerSuspended: 'certificateHold',
  GatewayRevoked: 'privilegeWithdrawn',
  GatewaySuspended: 'certificateHold',
  DeviceSuspended: 'certificateHold',
  DeviceTakenForRepair: 'certificateHold',
} as const satisfies { readonly [Type in EventType]?: string };
const resumptions = ['ProgrammerResumed', 'GatewayResumed', 'DeviceResumed'] as const satisfies readonly EventType[];

/** A certificate that an event contains or names. */
type Issued = Pick<CertificateRow, 'serial' | 'kind' | 'subject' | 'ica_id' | 'sha256' | 'not_after'> & {
  readonly crl_partition?: number | undefined;
};
type Leaf = InList & { readonly serial: string; readonly notAfter: string; readonly certificateSha256: string };

const leaf =
  (kind: CertificateKind) =>
  ({ serial, icaId, notAfter, certificateSha256, crlPartition }: Leaf, subject: string): readonly Issued[] => [
    { serial, kind, subject, ica_id: icaId, sha256: certificateSha256, not_after: notAfter, crl_partition: crlPartition },
  ];
/** The certificate of an authority is in the event itself. */
const authority = (kind: 'ica' | 'root', subject: string, issuer: string, certificate: string): Issued => {
  const der = fromBase64url(certificate);
  const { serialHex, notAfter } = parseCertificate(der);
  return { serial: serialHex, kind, subject, ica_id: issuer, sha256: hash('sha256', der), not_after: notAfter };
};
const issues: { readonly [Type in EventType]?: (data: EventMap[Type], subject: string) => readonly Issued[] } = {
  DeviceCertified: leaf('device'),
  CertificateRenewed: leaf('device'),
  OperationalCertificateIssued: leaf('device'),
  DeviceReturnedToService: leaf('device'),
  ProgrammerCertified: leaf('programmer'),
  ProgrammerCertificateRenewed: leaf('programmer'),
  GatewayCertified: leaf('gateway'),
  ServerCertificateIssued: ({ names, sha256, ...data }) => leaf('server')({ ...data, certificateSha256: sha256 }, names[0] ?? ''),
  OcspSignerEstablished: ({ sha256, ...data }) => leaf('ocspSigner')({ ...data, certificateSha256: sha256 }, data.icaId),
  IssuingCaEstablished: ({ icaId, rootId = 'root', certificate }) => [authority('ica', icaId, rootId, certificate)],
  RootCaEstablished: ({ certificate }) => [authority('root', 'root', 'root', certificate)],
  RootCaRolled: ({ rootId, previousRootId, certificate, crossCertificate, backCertificate }) => [
    authority('root', rootId, rootId, certificate),
    authority('ica', rootId, previousRootId, crossCertificate),
    authority('ica', previousRootId, rootId, backCertificate),
  ],
};

function issuedBy({ type, data, stream }: Recorded): readonly Issued[] {
  if (!Object.hasOwn(issues, type)) return [];
  return (issues[type] as (data: unknown, subject: string) => readonly Issued[])(data, subjectOf(stream));
}

export const certificates: Projection = {
  name: 'certificates',
  version: 8,
  tables: ['certificates', 'crl_partitions'],
  schema: table => `
    CREATE TABLE ${table('certificates')} (
      serial TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, ica_id TEXT NOT NULL, sha256 TEXT NOT NULL,
      issued_at TEXT NOT NULL, not_after TEXT NOT NULL, reason TEXT, revoked_at TEXT, expired INTEGER NOT NULL, was_held INTEGER NOT NULL,
      noticed_days INTEGER NOT NULL, position INTEGER NOT NULL, crl_partition INTEGER NOT NULL,
      room TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('crl_partitions')} (
      ica_id TEXT NOT NULL, partition INTEGER NOT NULL, certificates INTEGER NOT NULL, PRIMARY KEY (ica_id, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER ${table('certificates')}_inserted AFTER INSERT ON ${table('certificates')} BEGIN
      INSERT INTO ${table('crl_partitions')} VALUES (NEW.ica_id, NEW.crl_partition, 1)
      ON CONFLICT (ica_id, partition) DO UPDATE SET certificates = certificates + 1;
    END;
    CREATE INDEX ${table('certificates')}_subject ON ${table('certificates')} (subject);
    CREATE INDEX ${table('certificates')}_revoked ON ${table('certificates')} (ica_id, crl_partition, position) WHERE reason IS NOT NULL OR was_held = 1;
    CREATE INDEX ${table('certificates')}_ends ON ${table('certificates')} (not_after) WHERE reason IS NULL AND expired = 0 AND not_after < '9999';
    CREATE INDEX ${table('certificates')}_expired ON ${table('certificates')} (serial) WHERE expired = 1;
    CREATE INDEX ${table('certificates')}_changed ON ${table('certificates')} (position) WHERE reason IS NOT NULL OR was_held = 1;
    CREATE INDEX ${table('certificates')}_kind ON ${table('certificates')} (kind, serial) WHERE kind <> 'device';`,
  writer(db, table) {
    const name = table('certificates');
    const insert = db.prepare(
      `INSERT INTO ${name} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0, 0, 10000, ?, ?, '${' '.repeat(roomBytes)}') ON CONFLICT DO NOTHING`,
    );
    const open = `(reason IS NULL OR reason = 'certificateHold')`;
    const change = `reason = ?, revoked_at = ?, was_held = max(was_held, ?), position = ?, room = ''`;
    const revoke = db.prepare(`UPDATE ${name} SET ${change} WHERE serial = ? AND ${open}`);
    const end = db.prepare(`UPDATE ${name} SET ${change} WHERE subject = ? AND kind = ? AND ${open}`);
    const resume = db.prepare(
      `UPDATE ${name} SET reason = NULL, revoked_at = NULL, position = ? WHERE subject = ? AND kind = ? AND reason = 'certificateHold'`,
    );
    const resumeOne = db.prepare(
      `UPDATE ${name} SET reason = NULL, revoked_at = NULL, position = ? WHERE serial = ? AND reason = 'certificateHold'`,
    );
    const notice = db.prepare(`UPDATE ${name} SET noticed_days = ? WHERE serial = ?`);
    const expire = db.prepare(`UPDATE ${name} SET expired = 1, position = ? WHERE serial = ?`);
    const keepOne = on({
      DeviceReturnedToService: ({ data, position }) => resumeOne.run(position, data.serial),
      // What a store had forgotten that was put back: the certificate itself may be unknown to it.
      CertificateRevocationRestored: ({ data, position }) => {
        const { serial, kind, subject, icaId, sha256, issuedAt, notAfter, reason, revokedAt, crlPartition = 0 } = data;
        insert.run(serial, kind, subject, icaId, sha256, issuedAt, notAfter, position, crlPartition);
        revoke.run(reason, revokedAt, reason === 'certificateHold' ? 1 : 0, position, serial);
      },
      CertificateRevoked: ({ data, at, position }) => revoke.run(data.reason, at, 0, position, data.serial),
      GatewayCertificateRevoked: ({ data, at, position }) => revoke.run(data.reason, at, 0, position, data.serial),
      IssuingCaCompromised: ({ data, at, position }) => end.run('cACompromise', at, 0, position, data.icaId, 'ica'),
      CertificateExpiryNoticed: ({ data }) => notice.run(data.days, data.serial),
      CertificateExpired: ({ data, position }) => expire.run(position, data.serial),
      CertificateEnded: ({ data, position }) => expire.run(position, data.serial),
    });
    return event => {
      const { type, stream, at, position } = event;
      for (const { serial, kind, subject, ica_id, sha256, not_after, crl_partition = 0 } of issuedBy(event))
        insert.run(serial, kind, subject, ica_id, sha256, at, not_after, position, crl_partition);
      if (isEnding(type)) end.run(endings[type], at, endings[type] === 'certificateHold' ? 1 : 0, position, ...ownerOf(stream));
      else if (isResumption(type)) resume.run(position, ...ownerOf(stream));
      else keepOne(event);
    };
  },
};

const isEnding = (type: string): type is keyof typeof endings => Object.hasOwn(endings, type);
const isResumption = (type: string): boolean => (resumptions as readonly string[]).includes(type);

/** `programmer-00…ff` → ['00…ff', 'programmer'] */
const ownerOf = (stream: string): readonly [string, CertificateKind] => [
  subjectOf(stream),
  stream.slice(0, stream.indexOf('-')) as CertificateKind,
];

/** Whether an event of this type can change what is revoked. */
export const changesRevocation = (type: EventType): boolean =>
  type === 'CertificateRevoked' ||
  type === 'GatewayCertificateRevoked' ||
  type === 'CertificateRevocationRestored' ||
  type === 'IssuingCaCompromised' ||
  type === 'DeviceReturnedToService' ||
  isEnding(type) ||
  isResumption(type);

/** Which certificates an event revokes or puts on hold: one, or all of a machine or authority. @returns undefined when it does neither */
export function revokedBy(
  event: Recorded,
): { readonly serial?: string; readonly subject: string; readonly kind: CertificateKind } | undefined {
  const { type, stream } = event;
  const [subject, kind] = ownerOf(stream);
  if (event.type === 'CertificateRevoked' || event.type === 'GatewayCertificateRevoked')
    return { serial: event.data.serial, subject, kind };
  if (event.type === 'CertificateRevocationRestored') return event.data;
  if (event.type === 'IssuingCaCompromised') return { subject: event.data.icaId, kind: 'ica' };
  return isEnding(type) ? { subject, kind } : undefined;
}

/** Where a look through certificates that end goes on. */
type CertificatePlace = Pick<CertificateRow, 'not_after' | 'serial'>;
const firstPlace: CertificatePlace = { not_after: '', serial: '' };

/** Changes after a position, up to another one, at most so many; without an end, all of them. */
type ListedOptions = { readonly after: number; readonly upTo?: number; readonly limit?: number };

/** As the index of what was revoked or on hold has it. */
const changed = sql<boolean>`(reason IS NOT NULL OR was_held = 1)`;

/** Of `c`: no longer one of the same subject. */
const unreplaced = sql<boolean>`NOT EXISTS (SELECT 1 FROM certificates AS later WHERE later.subject = c.subject AND later.kind = c.kind AND later.not_after > c.not_after AND later.reason IS NULL)`;

async function isFew(db: Kysely<CertificateTables & DeviceTables & JobTables>): Promise<boolean> {
  const some = db
    .selectFrom('certificates')
    .select('position')
    .where(changed)
    .limit(maxSorted + 1);
  return (await some.execute()).length <= maxSorted;
}

export const certificateQueries = (db: Kysely<CertificateTables & DeviceTables & JobTables>) => ({
  /** Serial numbers of everything revoked or on hold. */
  revoked: () => db.selectFrom('certificates').selectAll().where(sql<boolean>`${changed} AND reason IS NOT NULL`).execute(),
  /** Serial numbers revoked or on hold, not expired, of these devices; the newest first. @param uids at most 2000 */
  revokedOf: async (uids: readonly string[], limit: number) => {
    const query = db.selectFrom('certificates').select('serial').where('subject', 'in', uids).where('kind', '=', 'device');
    const rows = await query.where('reason', 'is not', null).where('expired', '=', 0).orderBy('position', 'desc').limit(limit).execute();
    return rows.map(({ serial }) => serial);
  },
  /** What a list has to say of changes after a position, oldest first: revoked, on hold, or no longer on hold (reason null). */
  listed: ({ icaId, crlPartition }: CrlList, { after, upTo, limit }: ListedOptions) =>
    db
      .selectFrom('certificates')
      .select(['serial', 'reason', 'revoked_at', 'not_after', 'position'])
      .where('ica_id', '=', icaId)
      .where('crl_partition', '=', crlPartition)
      .where('position', '>', after)
      .$if(upTo !== undefined, query => query.where('position', '<=', upTo ?? 0))
      .where(changed)
      .orderBy('position')
      .$if(limit !== undefined, query => query.limit(limit ?? 0))
      .execute(),
  /** Of an authority's certificates, and how many it has. */
  newestPartition: (icaId: string) =>
    db.selectFrom('crl_partitions').selectAll().where('ica_id', '=', icaId).orderBy('partition', 'desc').limit(1).executeTakeFirst(),
  /** Revoked, put on hold or taken off it after a position, oldest first; one event may change several, so `afterSerial` continues among those of `position` itself. */
  changedSince: (position: number, limit: number, afterSerial?: string) =>
    db
      .selectFrom('certificates')
      .selectAll()
      .where(changed)
      .where(
        afterSerial === undefined
          ? sql<boolean>`position > ${position}`
          : sql<boolean>`position >= ${position} AND (position > ${position} OR serial > ${afterSerial})`,
      )
      .orderBy('position')
      .orderBy('serial')
      .limit(limit)
      .execute(),
  /** Position of the newest event behind what is revoked, on hold or was so; 0 when there is none. */
  newestChange: async () => {
    const query = db.selectFrom('certificates').select(({ fn }) => fn.max('position').as('position'));
    return (await query.where(changed).executeTakeFirst())?.position ?? 0;
  },
  /** Of a machine or authority, neither revoked nor on hold. */
  openOf: (subject: string, kind: CertificateKind) =>
    db.selectFrom('certificates').selectAll().where('subject', '=', subject).where('kind', '=', kind).where('reason', 'is', null).execute(),
  bySerial: (serial: string) => db.selectFrom('certificates').selectAll().where('serial', '=', serial).executeTakeFirst(),
  /** How many are not revoked and end before this time, `most` at most. */
  async countEnding(time: string, most: number): Promise<number> {
    const ending = db
      .selectFrom('certificates')
      .select('serial')
      .where(sql<boolean>`reason IS NULL AND expired = 0 AND not_after < '9999'`)
      .where('not_after', '<', time)
      .limit(most)
      .as('ending');
    const { count } = await db
      .selectFrom(ending)
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    return count;
  },
  /** Over by this time, not revoked, and not yet known as expired; soonest first. */
  ended: (time: string, limit: number, after: CertificatePlace = firstPlace) =>
    db
      .selectFrom('certificates')
      .selectAll()
      .where(sql<boolean>`reason IS NULL AND expired = 0 AND not_after < '9999'`)
      .where('not_after', '<', time)
      .where(sql<boolean>`(not_after, serial) > (${after.not_after}, ${after.serial})`)
      .orderBy('not_after')
      .orderBy('serial')
      .limit(limit)
      .execute(),
  /** Valid, ending before this time, not replaced by a longer one of the same subject, living three times as long as `days`, and without a notice
   *  at `days` or nearer; soonest first. */
  endingBefore: (time: string, days: number, limit: number, after: CertificatePlace = firstPlace) =>
    db
      .selectFrom('certificates as c')
      .selectAll()
      .where(sql<boolean>`c.reason IS NULL AND c.expired = 0 AND c.not_after < '9999'`)
      .where('c.not_after', '<', time)
      .where(sql<boolean>`(c.not_after, c.serial) > (${after.not_after}, ${after.serial})`)
      .where('c.noticed_days', '>', days)
      .where(sql<boolean>`julianday(c.not_after) - julianday(c.issued_at) > ${3 * days}`)
      .where(unreplaced)
      .orderBy('c.not_after')
      .orderBy('c.serial')
      .limit(limit)
      .execute(),
  /** Whether there is one of that kind and issuer that ends within this time, or has ended in it, and is neither revoked nor replaced by a longer one of the same
   *  subject. */
  async anyUnreplaced({
    kind,
    icaId,
    from,
    before,
  }: {
    readonly kind: string;
    readonly icaId: string;
    readonly from: string;
    readonly before: string;
  }) {
    // Said as two indexes say it.
    for (const within of [
      sql<boolean>`c.reason IS NULL AND c.expired = 0 AND c.not_after < '9999'`,
      sql<boolean>`c.expired = 1 AND c.reason IS NULL`,
    ]) {
      const found = await db
        .selectFrom('certificates as c')
        .select('c.serial')
        .where(within)
        .where(sql<boolean>`c.kind = ${kind} AND c.ica_id = ${icaId} AND c.not_after >= ${from} AND c.not_after < ${before}`)
        .where(unreplaced)
        .limit(1)
        .executeTakeFirst();
      if (found !== undefined) return true;
    }
    return false;
  },
  page: async (options: {
    readonly subject?: string | undefined;
    readonly kind?: CertificateKind | undefined;
    readonly status?: 'good' | 'revoked' | 'expired' | undefined;
    /** ISO day or time. */
    readonly endsBefore?: string | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
    /** Only of devices that are within it. */
    readonly scope?: Scope | undefined;
  }) => {
    const few = options.status === 'revoked' && (await isFew(db));
    // The plus keeps SQLite from going through all certificates in their order.
    const serial = few ? sql<string>`+serial` : sql<string>`serial`;
    let query = db.selectFrom('certificates').selectAll().orderBy(serial).limit(options.limit);
    if (options.subject !== undefined) query = query.where('subject', '=', options.subject);
    if (options.kind !== undefined) query = query.where('kind', '=', options.kind);
    // Said as the indexes say it: those of devices need none, as most are, and as most of them never end.
    if (options.kind !== undefined && options.kind !== 'device') query = query.where(sql<boolean>`kind <> 'device'`);
    if (few) query = query.where(changed);
    if (options.status === 'revoked') query = query.where('reason', 'is not', null);
    if (options.status === 'expired') query = query.where(sql<boolean>`expired = 1`);
    if (options.status === 'good') query = query.where(sql<boolean>`reason IS NULL AND expired = 0`);
    if (options.endsBefore !== undefined) query = query.where('not_after', '<', options.endsBefore).where(sql<boolean>`not_after < '9999'`);
    if (options.scope !== undefined) query = query.where('kind', '=', 'device').where('subject', 'in', devicesInScope(db, options.scope));
    if (options.after !== undefined) query = query.where(serial, '>', options.after);
    return query.execute();
  },
});
