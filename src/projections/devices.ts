import { fold } from '../domain/decider.ts';
import { device } from '../domain/device.ts';
import type { DeviceEvent, FirmwareFacts } from '../domain/deviceEvents.ts';
import { type DeviceStanding, type DeviceStatus, deviceMove, movesDevice } from '../domain/deviceStatus.ts';
import type { Recorded } from '../eventstore/recorded.ts';
import { on, type Projection, subjectOf } from './projection.ts';

/** The fleet: one row per device, by line, state and firmware (R83, R89). */

export type DeviceRow = {
  uid: string;
  obj_id: string;
  generation: number;
  line: string;
  job_id: string;
  programmer: string;
  status: DeviceStatus;
  serial: string | null;
  release_id: string | null;
  version: string | null;
  security_counter: number | null;
  image_hash: string | null;
  /** Of the bootloader that production has installed. */
  bootloader_release_id: string | null;
  /** 'passed', 'failed' or null before the first one. */
  attestation: string | null;
  attested_at: string | null;
  /** Where an upgrade, a quarantine, a suspension leads back to. */
  upgrade_from: DeviceStatus | null;
  quarantine_from: DeviceStatus | null;
  suspended_from: DeviceStatus | null;
  /** Of the trust bundle that the device has, as it says; null before it said so. */
  trust_bundle_version: number | null;
  /** 1 when the chip has proven the key that images are encrypted for. */
  has_encryption_key: 0 | 1;
  /** Separated by spaces. */
  tags: string;
  minted_at: string;
  /** Of the newest event. */
  changed_at: string;
  revision: number;
};
type DeviceTag = { tag: string; uid: string };
type DeviceCount = { line: string; status: DeviceStatus; version: string; count: number };
export type DeviceTables = { devices: DeviceRow; device_counts: DeviceCount; device_tags: DeviceTag };

/** How many devices of a line are in a state and on a version ('' for none), kept with every row that changes: counting all would take as long as
 *  there are devices. */
const countSchema = (devices: string, counts: string): string => {
  const change = (row: 'NEW' | 'OLD', by: 1 | -1) =>
    `INSERT INTO ${counts} VALUES (${row}.line, ${row}.status, coalesce(${row}.version, ''), ${by})
      ON CONFLICT (line, status, version) DO UPDATE SET count = count + ${by};`;
  return `
    CREATE TABLE ${counts} (
      line TEXT NOT NULL, status TEXT NOT NULL, version TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (line, status, version)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER ${devices}_inserted AFTER INSERT ON ${devices} BEGIN ${change('NEW', 1)} END;
    CREATE TRIGGER ${devices}_moved AFTER UPDATE OF line, status, version ON ${devices}
    WHEN OLD.line IS NOT NEW.line OR OLD.status IS NOT NEW.status OR OLD.version IS NOT NEW.version
    BEGIN ${change('OLD', -1)} ${change('NEW', 1)} END;`;
};

export const devices: Projection = {
  name: 'devices',
  version: 10,
  tables: ['devices', 'device_counts', 'device_tags'],
  schema: table => `
    CREATE TABLE ${table('devices')} (
      uid TEXT PRIMARY KEY, obj_id TEXT NOT NULL, generation INTEGER NOT NULL, line TEXT NOT NULL, job_id TEXT NOT NULL, programmer TEXT NOT NULL,
      status TEXT NOT NULL, serial TEXT, release_id TEXT, version TEXT, security_counter INTEGER, image_hash TEXT, bootloader_release_id TEXT,
      attestation TEXT, attested_at TEXT, upgrade_from TEXT, quarantine_from TEXT, suspended_from TEXT,
      trust_bundle_version INTEGER, has_encryption_key INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL DEFAULT '', minted_at TEXT NOT NULL, changed_at TEXT NOT NULL, revision INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('devices')}_line ON ${table('devices')} (line, status, uid);
    CREATE INDEX ${table('devices')}_status ON ${table('devices')} (status, uid);
    CREATE INDEX ${table('devices')}_job ON ${table('devices')} (job_id, uid);
    CREATE INDEX ${table('devices')}_release ON ${table('devices')} (release_id, uid);
    CREATE INDEX ${table('devices')}_bootloader ON ${table('devices')} (bootloader_release_id, uid);
    CREATE INDEX ${table('devices')}_image ON ${table('devices')} (image_hash, uid);
    CREATE INDEX ${table('devices')}_version ON ${table('devices')} (version, uid);
    CREATE INDEX ${table('devices')}_attestation ON ${table('devices')} (attestation, uid);
    CREATE INDEX ${table('devices')}_changed ON ${table('devices')} (changed_at, uid);
    CREATE TABLE ${table('device_tags')} (tag TEXT NOT NULL, uid TEXT NOT NULL, PRIMARY KEY (tag, uid)) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('device_tags')}_uid ON ${table('device_tags')} (uid);
    ${countSchema(table('devices'), table('device_counts'))}`,
  writer(db, table) {
    const name = table('devices');
    const mint =
      db.prepare(`INSERT INTO ${name} (uid, obj_id, generation, line, job_id, programmer, status, minted_at, changed_at, revision)
      VALUES (@uid, @objId, @generation, @line, @jobId, @programmer, 'MINTED', @at, @at, @revision)
      ON CONFLICT (uid) DO UPDATE SET obj_id = @objId, generation = @generation, line = @line, job_id = @jobId, programmer = @programmer,
        status = 'MINTED', serial = NULL, release_id = NULL, version = NULL, security_counter = NULL, image_hash = NULL,
        bootloader_release_id = NULL, attestation = NULL, attested_at = NULL, upgrade_from = NULL, quarantine_from = NULL, suspended_from = NULL, trust_bundle_version = NULL, tags = '',
        minted_at = @at, changed_at = @at, revision = @revision`);
    const find = db.prepare<StandingRow>(`SELECT status, serial, upgrade_from, quarantine_from, suspended_from FROM ${name} WHERE uid = ?`);
    const move = db.prepare(
      `UPDATE ${name} SET status = ?, serial = ?, upgrade_from = ?, quarantine_from = ?, suspended_from = ?, changed_at = ?, revision = ? WHERE uid = ?`,
    );
    const touch = db.prepare(`UPDATE ${name} SET changed_at = ?, revision = ? WHERE uid = ?`);
    const install = db.prepare(`UPDATE ${name} SET release_id = ?, version = ?, security_counter = ?, image_hash = ? WHERE uid = ?`);
    const boot = db.prepare(`UPDATE ${name} SET bootloader_release_id = ? WHERE uid = ?`);
    const attest = db.prepare(`UPDATE ${name} SET attestation = ?, attested_at = ? WHERE uid = ?`);
    const follow = db.prepare(`UPDATE ${name} SET trust_bundle_version = ? WHERE uid = ?`);
    const certifyKey = db.prepare(`UPDATE ${name} SET has_encryption_key = 1 WHERE uid = ?`);
    const untag = db.prepare(`DELETE FROM ${table('device_tags')} WHERE uid = ?`);
    const tag = db.prepare(`INSERT INTO ${table('device_tags')} VALUES (?, ?)`);
    const retag = db.prepare(`UPDATE ${name} SET tags = ? WHERE uid = ?`);
    const keepTags = (uid: string, tags: readonly string[]): void => {
      untag.run(uid);
      for (const one of tags) tag.run(one, uid);
      retag.run(tags.join(' '), uid);
    };
    const comeBack = db.prepare(`UPDATE ${name} SET obj_id = ?, generation = ?, attestation = NULL WHERE uid = ?`);

    const installed = ({ stream, data }: { readonly stream: string; readonly data: FirmwareFacts }) =>
      install.run(data.releaseId, data.version, data.securityCounter, data.imageHash, subjectOf(stream));
    const keepFacts = on({
      DeviceMinted({ stream, at, revision, data }) {
        mint.run({ ...data, uid: subjectOf(stream), at, revision });
        untag.run(subjectOf(stream));
      },
      DeviceTagged: ({ stream, data }) => keepTags(subjectOf(stream), data.tags),
      EncryptionKeyCertified: ({ stream }) => certifyKey.run(subjectOf(stream)),
      BootloaderInstalled: ({ stream, data }) => boot.run(data.releaseId, subjectOf(stream)),
      FirmwareInstalled: installed,
      FirmwareUpgraded: installed,
      AttestationPassed: ({ stream, at }) => attest.run('passed', at, subjectOf(stream)),
      AttestationFailed: ({ stream, at }) => attest.run('failed', at, subjectOf(stream)),
      TrustBundleFollowed: ({ stream, data }) => follow.run(data.version, subjectOf(stream)),
      DeviceReturnedToService: ({ stream, data }) => comeBack.run(data.objId, data.generation, subjectOf(stream)),
    });
    const keepStatus = (event: Recorded<DeviceEvent['type']>, uid: string): void => {
      const { at, revision } = event;
      const row = movesDevice(event.type) ? find.get(uid) : undefined;
      if (row === undefined) return void touch.run(at, revision, uid);
      const { status, serial, upgradeFrom, quarantineFrom, suspendedFrom } = { ...standingOf(row), ...deviceMove(standingOf(row), event) };
      move.run(status, serial ?? null, upgradeFrom ?? null, quarantineFrom ?? null, suspendedFrom ?? null, at, revision, uid);
    };
    return event => {
      if (!event.stream.startsWith(streamPrefix)) return;
      keepFacts(event);
      if (event.type !== 'DeviceMinted') keepStatus(event as Recorded<DeviceEvent['type']>, subjectOf(event.stream));
    };
  },
};

/** The row of one device from its own events, oldest first; as the table has it, but never behind. Undefined when it was never minted. */
export function deviceRowOf(events: readonly Recorded<DeviceEvent['type']>[]): DeviceRow | undefined {
  const state = fold(device, events);
  const last = events.at(-1);
  if (state.status === 'NONE' || last === undefined) return undefined;
  const life = events.slice(events.findLastIndex(({ type }) => type === 'DeviceMinted'));
  const attested = life.findLast(({ type }) => type === 'AttestationPassed' || type === 'AttestationFailed');
  const { uid, objId, generation, line, jobId, programmer, status, serial, firmware, bootloader, attestation } = state;
  return {
    uid,
    obj_id: objId,
    generation,
    line,
    job_id: jobId,
    programmer,
    status,
    serial: serial ?? null,
    release_id: firmware?.releaseId ?? null,
    version: firmware?.version ?? null,
    security_counter: firmware?.securityCounter ?? null,
    image_hash: firmware?.imageHash ?? null,
    bootloader_release_id: bootloader?.releaseId ?? null,
    attestation: attestation === undefined ? null : attestation.passed ? 'passed' : 'failed',
    attested_at: attested?.at ?? null,
    upgrade_from: state.upgradeFrom ?? null,
    quarantine_from: state.quarantineFrom ?? null,
    suspended_from: state.suspendedFrom ?? null,
    trust_bundle_version: state.trustBundleVersion ?? null,
    has_encryption_key: state.encryptionKey === undefined ? 0 : 1,
    tags: (state.tags ?? []).join(' '),
    minted_at: life[0]?.at ?? last.at,
    changed_at: last.at,
    revision: last.revision,
  };
}

const streamPrefix = 'device-';

type StandingRow = Pick<DeviceRow, 'status' | 'serial' | 'upgrade_from' | 'quarantine_from' | 'suspended_from'>;

const standingOf = ({ status, serial, upgrade_from, quarantine_from, suspended_from }: StandingRow): DeviceStanding => ({
  status,
  ...(serial !== null && { serial }),
  ...(upgrade_from !== null && { upgradeFrom: upgrade_from }),
  ...(quarantine_from !== null && { quarantineFrom: quarantine_from }),
  ...(suspended_from !== null && { suspendedFrom: suspended_from }),
});
