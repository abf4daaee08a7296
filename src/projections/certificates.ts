import type { Kysely } from 'kysely';
import type { Projection } from './projection.ts';

/** Certificate inventory: every certificate of a device, programmer or gateway, issued, expired or revoked (R86, RULE-16). */

export type CertificateRow = {
  serial: string;
  kind: 'device' | 'programmer' | 'gateway';
  subject: string;
  ica_id: string;
  sha256: string;
  issued_at: string;
  not_after: string;
  /** RFC 5280 reason; null while good. */
  reason: string | null;
  revoked_at: string | null;
  expired: number;
  /** Position of the event that changed the row last. */
  position: number;
};
export type CertificateTables = { certificates: CertificateRow };

/** Events of programmers and gateways that end all their certificates, with the reason written into the CRL. */
const endings: Readonly<Record<string, string>> = {
  ProgrammerReportedStolen: 'keyCompromise',
  ProgrammerRevoked: 'privilegeWithdrawn',
  ProgrammerRetired: 'cessationOfOperation',
  ProgrammerSuspended: 'certificateHold',
  GatewayRevoked: 'privilegeWithdrawn',
  GatewaySuspended: 'certificateHold',
};
const issues: Readonly<Record<string, CertificateRow['kind']>> = {
  DeviceCertified: 'device',
  CertificateRenewed: 'device',
  DeviceReturnedToService: 'device',
  ProgrammerCertified: 'programmer',
  ProgrammerCertificateRenewed: 'programmer',
  GatewayCertified: 'gateway',
};

export const certificates: Projection = {
  name: 'certificates',
  version: 1,
  tables: ['certificates'],
  schema: table => `
    CREATE TABLE ${table('certificates')} (
      serial TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, ica_id TEXT NOT NULL, sha256 TEXT NOT NULL,
      issued_at TEXT NOT NULL, not_after TEXT NOT NULL, reason TEXT, revoked_at TEXT, expired INTEGER NOT NULL, position INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ${table('certificates')}_subject ON ${table('certificates')} (subject);
    CREATE INDEX ${table('certificates')}_revoked ON ${table('certificates')} (ica_id, revoked_at) WHERE reason IS NOT NULL;
    CREATE INDEX ${table('certificates')}_position ON ${table('certificates')} (position);`,
  writer(db, table) {
    const name = table('certificates');
    const insert = db.prepare(`INSERT OR IGNORE INTO ${name} VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0, ?)`);
    const revoke = db.prepare(
      `UPDATE ${name} SET reason = ?, revoked_at = ?, position = ? WHERE serial = ? AND (reason IS NULL OR reason = 'certificateHold')`,
    );
    const end = db.prepare(
      `UPDATE ${name} SET reason = ?, revoked_at = ?, position = ? WHERE subject = ? AND kind = ? AND (reason IS NULL OR reason = 'certificateHold')`,
    );
    const resume = db.prepare(
      `UPDATE ${name} SET reason = NULL, revoked_at = NULL, position = ? WHERE subject = ? AND kind = ? AND reason = 'certificateHold'`,
    );
    const expire = db.prepare(`UPDATE ${name} SET expired = 1, position = ? WHERE serial = ?`);
    return event => {
      const [kind, subject] = ownerOf(event.stream);
      const issued = issues[event.type];
      const ending = endings[event.type];
      if (issued !== undefined) {
        const { serial, icaId, certificateSha256, notAfter } = event.data as {
          serial: string;
          icaId: string;
          certificateSha256: string;
          notAfter: string;
        };
        insert.run(serial, issued, subject, icaId, certificateSha256, event.at, notAfter, event.position);
      } else if (ending !== undefined) end.run(ending, event.at, event.position, subject, kind);
      else if (event.type === 'ProgrammerResumed' || event.type === 'GatewayResumed') resume.run(event.position, subject, kind);
      else if (event.type === 'CertificateRevoked')
        revoke.run(String(event.data.reason), event.at, event.position, String(event.data.serial));
      else if (event.type === 'CertificateExpired') expire.run(event.position, String(event.data.serial));
    };
  },
};

/** `programmer-00…ff` → ['programmer', '00…ff'] */
function ownerOf(stream: string): readonly [string, string] {
  const dash = stream.indexOf('-');
  return [stream.slice(0, dash), stream.slice(dash + 1)];
}

/** Whether an event of this type can change what is revoked. */
export const changesRevocation = (type: string): boolean =>
  type === 'CertificateRevoked' || type in endings || type === 'ProgrammerResumed' || type === 'GatewayResumed';

export const certificateQueries = (db: Kysely<CertificateTables>) => ({
  /** Everything revoked or on hold, of one issuing CA or of all. */
  revoked: (icaId?: string) => {
    const query = db.selectFrom('certificates').selectAll().where('reason', 'is not', null).orderBy('revoked_at');
    return (icaId === undefined ? query : query.where('ica_id', '=', icaId)).execute();
  },
  /** Rows changed after a position, oldest first. */
  changedSince: (position: number, limit: number) =>
    db.selectFrom('certificates').selectAll().where('position', '>', position).orderBy('position').limit(limit).execute(),
  bySerial: (serial: string) => db.selectFrom('certificates').selectAll().where('serial', '=', serial).executeTakeFirst(),
  page: (options: { readonly subject?: string; readonly after?: string; readonly limit: number }) => {
    let query = db.selectFrom('certificates').selectAll().orderBy('serial').limit(options.limit);
    if (options.subject !== undefined) query = query.where('subject', '=', options.subject);
    if (options.after !== undefined) query = query.where('serial', '>', options.after);
    return query.execute();
  },
});
