import { unitLifetimeMs } from '../domain/allotmentState.ts';
import { timeAfter } from '../domain/rules.ts';
import { on, type Projection, subjectOf, type Write } from './projection.ts';

/** Writes the table of units: one row per reservation, moved on by the events of its allotment and of its device. */

export function unitWriter(db: Parameters<Projection['writer']>[0], name: string): Write {
  const reserve = db.prepare(
    `INSERT INTO ${name} VALUES (?, ?, ?, ?, ?, ?, 'RESERVED', NULL, NULL, NULL, NULL, ?, ?, NULL, NULL, NULL, 0, 0, ?, ?) ON CONFLICT DO NOTHING`,
  );
  const finish = db.prepare(`UPDATE ${name} SET status = ?, reason = ?, finished_at = ? WHERE grant_id = ?`);
  const renew = db.prepare(`UPDATE ${name} SET expires_at = ?, waits_until = MAX(waits_until, ?) WHERE grant_id = ?`);
  const wait = db.prepare(`UPDATE ${name} SET waits_until = MAX(waits_until, ?) WHERE grant_id = ?`);
  const open = 'WHERE uid = ? AND finished_at IS NULL';
  const move = db.prepare(`UPDATE ${name} SET status = ? ${open}`);
  const certify = db.prepare(`UPDATE ${name} SET serial = ?, certified_at = ? ${open}`);
  const lock = db.prepare(`UPDATE ${name} SET locked_at = ? ${open}`);
  const root = db.prepare(`UPDATE ${name} SET status = 'ROOTED' ${open} AND status = 'CERTIFIED'`);
  // Commit comes first in the allotment; what is installed follows in the device's stream.
  const newest = `WHERE grant_id = (SELECT grant_id FROM ${name} WHERE uid = ? AND status NOT IN ('VOIDED', 'SCRAPPED') ORDER BY reserved_at DESC LIMIT 1)`;
  const install = db.prepare(`UPDATE ${name} SET version = ?, image_hash = ? ${newest}`);
  const seen = db.prepare(
    `UPDATE ${name} SET seen_in_field = 1 WHERE grant_id = (SELECT grant_id FROM ${name} WHERE uid = ? ORDER BY reserved_at DESC LIMIT 1)`,
  );
  const begin = db.prepare(`UPDATE ${name} SET device_open = 1 WHERE grant_id = ?`);
  const end = db.prepare(`UPDATE ${name} SET device_open = 0 WHERE uid = ?`);
  return on({
    UnitReserved({ stream, at, data: { grantId, uid, objId, number, expiresAt, unitData } }) {
      const [, jobId = '', programmer = ''] = stream.split('-');
      const values = unitData === undefined ? null : JSON.stringify(unitData.values);
      reserve.run(grantId, jobId, programmer, uid, objId, number, expiresAt, at, expiresAt, values);
    },
    GrantRenewed: ({ data: { grantId, expiresAt } }) => renew.run(expiresAt, expiresAt, grantId),
    ImageSigned({ stream, at, data }) {
      // With the bootloader goes the key to burn: from here on the chip may be lost with the unit.
      if (data.image === 'bl2') wait.run(timeAfter(at, unitLifetimeMs), subjectOf(stream));
    },
    UnitCommitted: ({ at, data }) => finish.run('COMMITTED', null, at, data.grantId),
    UnitVoided: ({ at, data }) => finish.run(data.scrapped ? 'SCRAPPED' : 'VOIDED', data.reason, at, data.grantId),
    DeviceMinted: ({ data }) => begin.run(data.grantId),
    DeviceCertified({ stream, at, data }) {
      move.run('CERTIFIED', subjectOf(stream));
      certify.run(data.serial, at, subjectOf(stream));
    },
    BootKeyBurned({ stream, data }) {
      if (data.slot === 'bl2') root.run(subjectOf(stream));
    },
    DebugLocked({ stream, at }) {
      move.run('LOCKED', subjectOf(stream));
      lock.run(at, subjectOf(stream));
    },
    ProgrammingSessionAuthenticated: ({ stream }) => move.run('AUTHENTICATED', subjectOf(stream)),
    FirmwareInstalled({ stream, data }) {
      move.run('INSTALLED', subjectOf(stream));
      install.run(data.version, data.imageHash, subjectOf(stream));
    },
    FirmwareUpgraded: ({ stream, data }) => install.run(data.version, data.imageHash, subjectOf(stream)),
    ProvisioningCompleted: ({ stream }) => end.run(subjectOf(stream)),
    DeviceFailed: ({ stream }) => end.run(subjectOf(stream)),
    DeviceScrapped: ({ stream }) => end.run(subjectOf(stream)),
    DevicePutInService: ({ stream }) => seen.run(subjectOf(stream)),
  });
}
