import type { ExpressionBuilder, Kysely } from 'kysely';
import type { Projection } from './projection.ts';

/** The fleet: one row per device, by line, state and firmware (R83, R89). */

export type DeviceRow = {
  uid: string;
  obj_id: string;
  generation: number;
  line: string;
  job_id: string;
  programmer: string;
  status: string;
  serial: string | null;
  release_id: string | null;
  version: string | null;
  security_counter: number | null;
  image_hash: string | null;
  /** 'passed', 'failed' or null before the first one. */
  attestation: string | null;
  attested_at: string | null;
  /** Where an upgrade, a quarantine, a suspension leads back to. */
  upgrade_from: string | null;
  quarantine_from: string | null;
  suspended_from: string | null;
  /** Of the trust bundle that the device has, as it says; null before it said so. */
  trust_bundle_version: number | null;
  minted_at: string;
  /** Of the newest event. */
  changed_at: string;
  revision: number;
};
export type DeviceTables = { devices: DeviceRow };

/** An upgrade that ends, well, badly or because of something else, leads back to where it began. */
const outOfUpgrade = "CASE status WHEN 'UPGRADING' THEN coalesce(upgrade_from, 'IN_SERVICE') ELSE status END";

/** How each event changes a row, as the SET clause of an UPDATE; `docs/lifecycle.md` has the walk. A test compares it with the fold. */
const changes: Readonly<Record<string, string>> = {
  DeviceCertified: "status = 'CERTIFIED', serial = @serial",
  BootKeyBurned: "status = CASE WHEN @slot = 'bl2' AND status = 'CERTIFIED' THEN 'ROOTED' ELSE status END",
  DebugLocked: "status = 'LOCKED'",
  FirmwareInstalled:
    "status = 'PROVISIONED', release_id = @releaseId, version = @version, security_counter = @securityCounter, image_hash = @imageHash",
  ProvisioningCompleted: "status = 'STOCK'",
  DeviceFailed: "status = 'FAILED'",
  DeviceScrapped: "status = 'SCRAPPED'",
  DevicePutInService: "status = 'IN_SERVICE'",
  AttestationPassed: "attestation = 'passed', attested_at = @at",
  AttestationFailed: "attestation = 'failed', attested_at = @at",
  UpgradeStarted: "upgrade_from = CASE status WHEN 'UPGRADING' THEN upgrade_from ELSE status END, status = 'UPGRADING'",
  FirmwareUpgraded: `status = ${outOfUpgrade}, release_id = @releaseId, version = @version, security_counter = @securityCounter, image_hash = @imageHash`,
  UpgradeFailed: `status = ${outOfUpgrade}`,
  CertificateRenewed: 'serial = @serial',
  TrustBundleFollowed: 'trust_bundle_version = @version',
  CertificateRevoked: `status = CASE WHEN (@reason = 'superseded' AND (@serial IS NOT serial OR status = 'RMA')) OR status IN ('FAILED', 'SCRAPPED', 'DECOMMISSIONED') THEN status ELSE 'REVOKED' END`,
  // On the right of a SET stands the row as it was before.
  DeviceQuarantined: `quarantine_from = CASE
      WHEN status = 'QUARANTINED' OR (status = 'SUSPENDED' AND suspended_from = 'QUARANTINED') THEN coalesce(quarantine_from, 'IN_SERVICE')
      WHEN status = 'SUSPENDED' THEN coalesce(suspended_from, 'IN_SERVICE') ELSE ${outOfUpgrade} END,
    suspended_from = CASE status WHEN 'SUSPENDED' THEN 'QUARANTINED' ELSE suspended_from END,
    status = CASE status WHEN 'SUSPENDED' THEN status ELSE 'QUARANTINED' END`,
  DeviceSuspended: `suspended_from = CASE status WHEN 'SUSPENDED' THEN suspended_from ELSE ${outOfUpgrade} END, status = 'SUSPENDED'`,
  DeviceResumed: "status = CASE status WHEN 'SUSPENDED' THEN coalesce(suspended_from, 'IN_SERVICE') ELSE status END",
  DeviceReleased: 'status = coalesce(quarantine_from, status)',
  DeviceTakenForRepair: "status = 'RMA'",
  DeviceReturnedToService: "status = 'IN_SERVICE', serial = @serial, obj_id = @objId, generation = @generation, attestation = NULL",
  DeviceDecommissioned: "status = 'DECOMMISSIONED'",
};

export const devices: Projection = {
  name: 'devices',
  version: 4,
  tables: ['devices'],
  schema: table => `
    CREATE TABLE ${table('devices')} (
      uid TEXT PRIMARY KEY, obj_id TEXT NOT NULL, generation INTEGER NOT NULL, line TEXT NOT NULL, job_id TEXT NOT NULL, programmer TEXT NOT NULL,
      status TEXT NOT NULL, serial TEXT, release_id TEXT, version TEXT, security_counter INTEGER, image_hash TEXT,
      attestation TEXT, attested_at TEXT, upgrade_from TEXT, quarantine_from TEXT, suspended_from TEXT,
      trust_bundle_version INTEGER, minted_at TEXT NOT NULL, changed_at TEXT NOT NULL, revision INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('devices')}_line ON ${table('devices')} (line, status, uid);
    CREATE INDEX ${table('devices')}_job ON ${table('devices')} (job_id, uid);`,
  writer(db, table) {
    const name = table('devices');
    const mint =
      db.prepare(`INSERT INTO ${name} (uid, obj_id, generation, line, job_id, programmer, status, minted_at, changed_at, revision)
      VALUES (@uid, @objId, @generation, @line, @jobId, @programmer, 'MINTED', @at, @at, @revision)
      ON CONFLICT (uid) DO UPDATE SET obj_id = @objId, generation = @generation, line = @line, job_id = @jobId, programmer = @programmer,
        status = 'MINTED', serial = NULL, release_id = NULL, version = NULL, security_counter = NULL, image_hash = NULL,
        attestation = NULL, attested_at = NULL, upgrade_from = NULL, quarantine_from = NULL, suspended_from = NULL, trust_bundle_version = NULL,
        minted_at = @at, changed_at = @at, revision = @revision`);
    const updates = new Map(
      Object.entries(changes).map(([type, set]) => [
        type,
        db.prepare(`UPDATE ${name} SET ${set}, changed_at = @at, revision = @revision WHERE uid = @uid`),
      ]),
    );
    const touch = db.prepare(`UPDATE ${name} SET changed_at = @at, revision = @revision WHERE uid = @uid`);
    return ({ stream, type, at, revision, data }) => {
      if (!stream.startsWith(streamPrefix)) return;
      const uid = stream.slice(streamPrefix.length);
      const statement = type === 'DeviceMinted' ? mint : (updates.get(type) ?? touch);
      // Each statement names the fields it takes; they are text or numbers.
      statement.run({ ...data, uid, at, revision } as Record<string, string | number>);
    };
  },
};

const streamPrefix = 'device-';

export type DevicePage = {
  readonly line?: string;
  readonly status?: string;
  readonly jobId?: string;
  /** Those in use whose trust bundle is older than this one, or unknown. */
  readonly trustBelow?: number;
  readonly after?: string;
  readonly limit: number;
};

const inField = ['IN_SERVICE', 'UPGRADING', 'QUARANTINED'];
const isBehind = (version: number) => (eb: ExpressionBuilder<DeviceTables, 'devices'>) =>
  eb.and([eb('status', 'in', inField), eb.or([eb('trust_bundle_version', '<', version), eb('trust_bundle_version', 'is', null)])]);

export const deviceQueries = (db: Kysely<DeviceTables>) => ({
  byUid: (uid: string) => db.selectFrom('devices').selectAll().where('uid', '=', uid).executeTakeFirst(),
  /** By uid, after the cursor. */
  page({ line, status, jobId, trustBelow, after, limit }: DevicePage) {
    let query = db.selectFrom('devices').selectAll().orderBy('uid').limit(limit);
    if (line !== undefined) query = query.where('line', '=', line);
    if (status !== undefined) query = query.where('status', '=', status);
    if (jobId !== undefined) query = query.where('job_id', '=', jobId);
    if (trustBelow !== undefined) query = query.where(isBehind(trustBelow));
    if (after !== undefined) query = query.where('uid', '>', after);
    return query.execute();
  },
  /** How many devices in use have an older trust bundle than this one, or none that is known. */
  async countBehind(version: number): Promise<number> {
    const counted = db
      .selectFrom('devices')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where(isBehind(version));
    return (await counted.executeTakeFirstOrThrow()).count;
  },
  /** How many devices of each line are in each state and on each version. */
  counts: () =>
    db
      .selectFrom('devices')
      .select(({ fn }) => ['line', 'status', 'version', fn.countAll<number>().as('count')])
      .groupBy(['line', 'status', 'version'])
      .orderBy('line')
      .execute(),
});
