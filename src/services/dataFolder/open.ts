import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { utf8 } from '../../bytes.ts';
import { type Own, opening } from '../../closing.ts';
import type { FolderSettings } from '../../config.ts';
import { operatorsStream } from '../../domain/operators.ts';
import { NusecError } from '../../errors.ts';
import { blobFile, openBlobStore } from '../../eventstore/blobs.ts';
import { createFollowers } from '../../eventstore/followers.ts';
import { createIdSource } from '../../eventstore/ids.ts';
import { personalStore } from '../../eventstore/personal.ts';
import type { EventStore } from '../../eventstore/port.ts';
import { isPseudonym } from '../../evidence/personalSeal.ts';
import { makeFolder, narrowFolder } from '../../folder.ts';
import { createBootKeys, newestBootKek } from '../../keystore/bootKeys.ts';
import { openCustody } from '../../keystore/custody.ts';
import { objectCustody } from '../../keystore/objectCustody.ts';
import { tokenTroubles } from '../../keystore/pkcs11/tokenClient.ts';
import type { Keystore } from '../../keystore/port.ts';
import { countSignatures } from '../../keystore/signingCounts.ts';
import { defaultSigningLimits, type SigningAlarm, watchSigningRates } from '../../keystore/signingRates.ts';
import { standingKey } from '../../keystore/standingKey.ts';
import type { ObjectStore } from '../../objects/port.ts';
import { type SealedObjects, sealedObjects } from '../../objects/sealed.ts';
import { openReadModels } from '../../projections/readModels.ts';
import { pooledRandom } from '../../random.ts';
import { minuteMs, secondsOf } from '../../times.ts';
import { openUidLists } from '../../uidlists/uidLists.ts';
import { type Alarm, type Alarms, createAlarms, followerAlarm, followerCase } from '../base/alarms.ts';
import { createConditions } from '../base/conditions.ts';
import type { Context } from '../base/context.ts';
import type { Subjects } from '../base/subjectRegistry.ts';
import { takeProcessSlot, viewsFiles } from '../processes/processSlots.ts';
import type { FolderParts } from './damage.ts';
import { eventsFile, openEventLog, requireEventLog } from './eventLog.ts';
import { custodyFile, openKeystore, openObjects, requireDataFolder } from './keystore.ts';
import { sharedSubjects } from './sharedSubjects.ts';
import { openSubjects } from './subjectKeys.ts';

/** Opens everything that lives in the data folder. The ports are those the process listens on: certificates and packages name them
 *  where the settings name no public ones. */
export type Ports = { readonly https: number; readonly crl: number };

export type OpenedContext = {
  readonly ctx: Context;
  /** Of this process among those at the data folder. */
  readonly slot: number;
  /** What only servers of this project read and write in the object store, where there is one. */
  readonly sealed: SealedObjects | undefined;
  close(): Promise<void>;
};

const project = 'nusec';

/** @param create makes the folder and the keyset when they are missing (`nusec init`)
 *  @throws NusecError FOLDER_REFUSED; STATE (no event log there, and not to be made); of the keystore and the event store: wrong passphrase, locked by a tool that must be alone, damaged; TOO_MANY_SERVERS */
export function openContext(settings: FolderSettings, ports: Ports, create = false): Promise<OpenedContext> {
  return opening(own => openParts(own, settings, ports, create));
}

async function openParts(own: Own, settings: FolderSettings, ports: Ports, create: boolean): Promise<Omit<OpenedContext, 'close'>> {
  const { dataDir } = settings;
  if (create) makeFolder(dataDir);
  narrowFolder(dataDir);
  let alarms: Alarms | undefined;
  const log = pino({ level: settings.logLevel }, pino.destination(2));
  const raise = (alarm: Alarm): void => {
    log.warn(alarm, 'alarm');
    alarms?.raise(alarm).catch(error => log.error({ error }, 'the alarm was not recorded'));
  };
  const keystoreIsFine = (): void => {
    for (const code of tokenTroubles) alarms?.ended({ code, subject: 'keystore' }, 'the token is there');
  };
  requireDataFolder(settings);
  const objectsAreBack = (): void => alarms?.ended(objectsCase, 'the object store answers');
  const objects = await openObjects(settings, { onAway: ms => raise(objectsAway(ms)), onBack: objectsAreBack });
  if (objects !== undefined) own('object store', objects);
  const opened = own(
    'keystore',
    await openKeystore(settings, {
      create,
      objects,
      watch: { onTrouble: trouble => raise({ ...trouble, subject: 'keystore' }), onFine: keystoreIsFine },
    }),
  );
  if (!create) requireEventLog(settings);
  const { keystore: counted, counts: signatures } = countSignatures(opened);
  const keystore = watchSigningRates(counted, { ...defaultSigningLimits, ...settings.signingLimits }, alarm => raise(rateAlarm(alarm)));
  const custody = own('custody', objects === undefined ? openCustody(custodyFile(settings)) : objectCustody(objects, settings.keystore));
  const storedLog = own('event store', await openEventLog(settings, keystore));
  const subjects = own('subjects', await openKnownSubjects(settings, keystore, storedLog, objects));
  const store = personalStore(storedLog, subjects);
  const conditions = createConditions(store.seen);
  const followers = own(
    'followers',
    createFollowers(
      store,
      trouble => raise(followerAlarm(trouble)),
      name => alarms?.ended(followerCase(name), 'it follows the log'),
    ),
  );
  const slot = own('process slot', takeProcessSlot(dataDir));
  const reads = own(
    'read models',
    await openReadModels(store, slot.viewsFile, trouble => log.error(trouble, 'a read model has stopped'), followers),
  );
  const blobs = openBlobStore(join(dataDir, 'blobs'), { rows: store, shared: objects });
  const fileOf = (sha256: string): string => blobFile(join(dataDir, 'blobs'), sha256);
  const uidLists = own('UID lists', openUidLists(join(dataDir, 'uidlists'), blobs, fileOf));
  const { publicHost: host, publicCrlPort = ports.crl, publicHttpsPort = ports.https } = settings;
  const ctx: Context = {
    store,
    storedLog,
    subjects,
    followers,
    conditions,
    reads,
    keystore,
    signatures,
    blobs,
    uidLists,
    bootKeys: createBootKeys(keystore, custody, () => newestBootKek(keystore)),
    clock: () => new Date(),
    newId: createIdSource(),
    randomBytes: pooledRandom(),
    log,
    effectsPerDay: settings.effectsPerDay,
    backdateMs: settings.backdateMinutes * minuteMs,
    project,
    crlBaseUrl: `http://${host}:${publicCrlPort}`,
    apiBaseUrl: `https://${host}:${publicHttpsPort}`,
  };
  alarms = createAlarms(ctx);
  keystoreIsFine();
  if (objects !== undefined) objectsAreBack();
  const sealed = objects && sealedObjects(objects, (await standingKey(opened, 'shared-objects', utf8('nusec shared objects v1'))).key);
  return { ctx, slot: slot.number, sealed };
}

const objectsCase = { code: 'OBJECT_STORE_UNAVAILABLE', subject: 'object-store' };
const objectsAway = (ms: number): Alarm => ({
  ...objectsCase,
  detail: `no answer for ${secondsOf(ms)} s: what makes a key, a person or an image is refused until it is back`,
});

const subjectsFile = ({ dataDir }: Pick<FolderSettings, 'dataDir'>): string => join(dataDir, 'subjects.db');

/** @throws NusecError KEYSTORE_DAMAGED when the file was lost: everybody would count as erased */
async function openKnownSubjects(
  settings: FolderSettings,
  keystore: Keystore,
  storedLog: EventStore,
  objects: ObjectStore | undefined,
): Promise<Subjects> {
  const file = subjectsFile(settings);
  const people = objects !== undefined || existsSync(file) ? [] : await storedLog.readStream(operatorsStream);
  if (people.some(({ type, data }) => type === 'OperatorAdded' && isPseudonym(String(data.name))))
    throw new NusecError(
      'KEYSTORE_DAMAGED',
      `${file} is missing, without which nobody can read who did what: put it back from a backup, or give everybody up as erased (touch ${file}; chmod 600 ${file})`,
    );
  const local = await openSubjects(file, keystore, () => new Date().toISOString());
  if (objects === undefined) return local;
  return sharedSubjects(local, objects).catch(error => {
    local.close();
    throw error;
  });
}

/** The log of attestations; see base/attestationLog.ts. */
export const attestationsFile = (dataDir: string): string => join(dataDir, 'attestations.db');

/** Everything in the data folder that is looked at in the background. */
export const scrubPlaces = (settings: FolderSettings): FolderParts => ({
  store: eventsFile(settings),
  blobs: join(settings.dataDir, 'blobs'),
  databases: [custodyFile(settings), subjectsFile(settings), attestationsFile(settings.dataDir), ...viewsFiles(settings.dataDir)],
});

/** The signature was given already; the key id is what an operator looks for. */
function rateAlarm({ keyId, signatures, limitPerMinute }: SigningAlarm): Alarm {
  const detail = `${keyId} made ${signatures} signatures within a minute; expected are at most ${limitPerMinute}`;
  return { code: 'SIGNING_RATE', subject: `key-${keyId}`, detail };
}
