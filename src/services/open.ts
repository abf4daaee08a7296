import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Settings } from '../config.ts';
import { openBlobStore } from '../eventstore/blobs.ts';
import { createIdSource } from '../eventstore/ids.ts';
import { openSqliteStore } from '../eventstore/sqlite.ts';
import { createBootKeys, newestBootKek } from '../keystore/bootKeys.ts';
import { openCustody } from '../keystore/custody.ts';
import { defaultSigningLimits, type SigningAlarm, watchSigningRates } from '../keystore/signingRates.ts';
import { openReadModels } from '../projections/readModels.ts';
import { createAlarms } from './alarms.ts';
import type { Context } from './context.ts';
import { custodyFile, openKeystore } from './keystore.ts';

/** Opens everything that lives in the data folder. The ports are those the process really listens on: certificates and packages name them. */
export type Ports = { readonly https: number; readonly crl: number };

export type OpenedContext = { readonly ctx: Context; close(): Promise<void> };

const project = 'nusec';

/** @param create makes the folder and the keyset when they are missing (`nusec init`)
 *  @throws NusecError of the keystore and the event store: wrong passphrase, locked by another process, damaged */
export async function openContext(settings: Settings, ports: Ports, create = false): Promise<OpenedContext> {
  const { dataDir } = settings;
  if (create && !existsSync(dataDir)) mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const log = pino({ level: settings.logLevel }, pino.destination(2));
  const keystore = watchSigningRates(await openKeystore(settings, create), { ...defaultSigningLimits, ...settings.signingLimits }, alarm =>
    raiseSigningRate(ctx, alarm),
  );
  const custody = openCustody(custodyFile(settings));
  const store = await openSqliteStore({ file: join(dataDir, 'events.db') });
  const reads = openReadModels(store, join(dataDir, 'views.db'), trouble => log.error(trouble, 'a read model has stopped'));
  const host = settings.publicHost;
  const ctx: Context = {
    store,
    reads,
    keystore,
    blobs: openBlobStore(join(dataDir, 'blobs')),
    bootKeys: createBootKeys(keystore, custody, () => newestBootKek(keystore)),
    clock: () => new Date(),
    newId: createIdSource(),
    randomBytes: bytes => new Uint8Array(randomBytes(bytes)),
    log,
    project,
    crlBaseUrl: `http://${host}:${ports.crl}`,
    apiBaseUrl: `https://${host}:${ports.https}`,
  };
  return {
    ctx,
    async close() {
      await reads.close();
      await store.close();
      custody.close();
      await keystore.close();
    },
  };
}

/** The signature was given already: an alarm that cannot be recorded is at least in the log. */
function raiseSigningRate(ctx: Context, { keyId, signatures, limitPerMinute }: SigningAlarm): void {
  const detail = `${keyId} made ${signatures} signatures within a minute; expected are at most ${limitPerMinute}`;
  ctx.log.warn({ keyId, signatures, limitPerMinute }, 'signing rate exceeded');
  createAlarms(ctx)
    .raise({ code: 'SIGNING_RATE', subject: `key-${keyId}`, detail })
    .catch(error => ctx.log.error({ error }, 'the alarm was not recorded'));
}
