import type { Unit } from '../domain/allotmentEvents.ts';
import { unitLifetimeMs } from '../domain/allotmentState.ts';
import { timeAfter } from '../domain/rules.ts';
import type { RecordedEvent } from '../eventstore/port.ts';
import type { Projection } from './projection.ts';

/** Writes the table of units: one row per reservation, moved on by the events of its allotment and of its device. */

/** Device events that move the unit that is being built on this chip. */
const steps: Readonly<Record<string, string>> = {
  DeviceCertified: 'CERTIFIED',
  DebugLocked: 'LOCKED',
  ProgrammingSessionAuthenticated: 'AUTHENTICATED',
  FirmwareInstalled: 'INSTALLED',
};

/** Device events after which the device needs nothing more from its unit. */
const endings = new Set(['ProvisioningCompleted', 'DeviceFailed', 'DeviceScrapped']);

export function unitWriter(db: Parameters<Projection['writer']>[0], name: string): (event: RecordedEvent) => void {
  const reserve = db.prepare(
    `INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, ?, ?, ?, 'RESERVED', NULL, NULL, NULL, NULL, ?, ?, NULL, NULL, NULL, 0, 0, ?)`,
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
  return ({ type, stream, data, at }) => {
    if (type === 'UnitReserved') {
      const [, jobId = '', programmer = ''] = stream.split('-');
      const { grantId, uid, objId, number, expiresAt } = data as Unit;
      reserve.run(grantId, jobId, programmer, uid, objId, number, expiresAt, at, expiresAt);
    } else if (type === 'UnitCommitted') finish.run('COMMITTED', null, at, String(data.grantId));
    else if (type === 'UnitVoided')
      finish.run(data.scrapped === true ? 'SCRAPPED' : 'VOIDED', String(data.reason), at, String(data.grantId));
    else if (type === 'GrantRenewed') renew.run(String(data.expiresAt), String(data.expiresAt), String(data.grantId));
    // With the bootloader goes the key to burn: from here on the chip may be lost with the unit.
    else if (type === 'ImageSigned' && data.image === 'bl2') wait.run(timeAfter(at, unitLifetimeMs), stream.slice('grant-'.length));
    if (!stream.startsWith('device-')) return;
    const uid = stream.slice('device-'.length);
    const status = steps[type];
    if (status !== undefined) move.run(status, uid);
    if (type === 'DeviceMinted') begin.run(String(data.grantId));
    else if (endings.has(type)) end.run(uid);
    if (type === 'DeviceCertified') certify.run(String(data.serial), at, uid);
    else if (type === 'DebugLocked') lock.run(at, uid);
    else if (type === 'BootKeyBurned' && data.slot === 'bl2') root.run(uid);
    else if (type === 'FirmwareInstalled' || type === 'FirmwareUpgraded') install.run(String(data.version), String(data.imageHash), uid);
    else if (type === 'DevicePutInService') seen.run(uid);
  };
}
