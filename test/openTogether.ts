import { openSqliteStore } from '../src/eventstore/sqlite.ts';
import { openCustody } from '../src/keystore/custody.ts';
import { openReadModelWriter } from '../src/projections/database.ts';
import { openAttestationLog } from '../src/services/base/attestationLog.ts';
import { openHeadRows } from '../src/services/proof/headMapRows.ts';
import { openShared } from '../src/sqliteFile.ts';

/** Child process of sqliteFile.test.ts: opens files when it is told to, and says what came of it. */

const openers = {
  'the event store': file => openSqliteStore({ file }),
  'the custody of boot keys': openCustody,
  'the log of attestations': openAttestationLog,
  'the read models': openReadModelWriter,
  'the map of heads': file => openHeadRows(file, true),
  'a shared file': file => openShared(file, { tables: 'CREATE TABLE IF NOT EXISTS t (x)', synchronous: 'OFF', remedy: '' }),
} satisfies Record<string, (file: string) => unknown>;

export type Opener = keyof typeof openers;

process.on('message', async ({ what, file, atMs }: { readonly what: Opener; readonly file: string; readonly atMs: number }) => {
  while (Date.now() < atMs);
  try {
    const opened = (await openers[what](file)) as { close(): unknown };
    process.send?.('opened');
    process.once('disconnect', () => opened.close());
  } catch (error) {
    process.send?.(String((error as { code?: unknown }).code ?? error));
  }
});
process.send?.('ready');
