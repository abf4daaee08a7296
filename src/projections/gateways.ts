import type { Kysely } from 'kysely';
import { type GatewayStatus, gatewayWalk } from '../domain/gateway.ts';
import { on, type Projection, subjectOf } from './projection.ts';
import { statusColumn } from './statusColumn.ts';

/** Gateways and the devices attached to them (R84, T20). */

export type GatewayRow = {
  gateway_id: string;
  name: string;
  status: GatewayStatus;
  serial: string | null;
  not_after: string | null;
  /** The newest trust bundle that it said it has; 0 before. */
  bundle_version: number;
  registered_at: string;
};
type GatewayDeviceRow = { gateway_id: string; uid: string; attached_at: string };
export type GatewayTables = { gateways: GatewayRow; gateway_devices: GatewayDeviceRow };

export const gateways: Projection = {
  name: 'gateways',
  version: 2,
  tables: ['gateways', 'gateway_devices'],
  schema: table => `
    CREATE TABLE ${table('gateways')} (
      gateway_id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL, serial TEXT, not_after TEXT, bundle_version INTEGER NOT NULL, registered_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ${table('gateway_devices')} (
      gateway_id TEXT NOT NULL, uid TEXT NOT NULL, attached_at TEXT NOT NULL, PRIMARY KEY (gateway_id, uid)
    ) STRICT, WITHOUT ROWID;`,
  writer(db, table) {
    const register = db.prepare(`INSERT INTO ${table('gateways')} VALUES (?, ?, 'REGISTERED', NULL, NULL, 0, ?) ON CONFLICT DO NOTHING`);
    const certify = db.prepare(`UPDATE ${table('gateways')} SET serial = ?, not_after = ? WHERE gateway_id = ?`);
    const apply = db.prepare(`UPDATE ${table('gateways')} SET bundle_version = ? WHERE gateway_id = ?`);
    const attach = db.prepare(`INSERT INTO ${table('gateway_devices')} VALUES (?, ?, ?) ON CONFLICT DO NOTHING`);
    const detach = db.prepare(`DELETE FROM ${table('gateway_devices')} WHERE gateway_id = ? AND uid = ?`);
    const keepStatus = statusColumn(db, table('gateways'), 'gateway_id', gatewayWalk);
    const keepFacts = on({
      GatewayRegistered: ({ stream, at, data }) => register.run(subjectOf(stream), data.name, at),
      GatewayCertified: ({ stream, data }) => certify.run(data.serial, data.notAfter, subjectOf(stream)),
      DeviceAttached: ({ stream, at, data }) => attach.run(subjectOf(stream), data.uid, at),
      DeviceDetached: ({ stream, data }) => detach.run(subjectOf(stream), data.uid),
      TrustBundleApplied: ({ stream, data }) => apply.run(data.version, subjectOf(stream)),
    });
    return event => {
      keepFacts(event);
      keepStatus(event);
    };
  },
};

export const gatewayQueries = (db: Kysely<GatewayTables>) => ({
  page: ({ after, limit }: { readonly after?: string | undefined; readonly limit: number }) => {
    const query = db.selectFrom('gateways').selectAll().orderBy('gateway_id').limit(limit);
    return (after === undefined ? query : query.where('gateway_id', '>', after)).execute();
  },
  devicesOf: (gatewayId: string) =>
    db.selectFrom('gateway_devices').selectAll().where('gateway_id', '=', gatewayId).orderBy('uid').execute(),
  /** Every id, for the start of a process. */
  ids: async () => (await db.selectFrom('gateways').select('gateway_id').execute()).map(row => row.gateway_id),
});
