import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { NusecError } from './errors.ts';

/** Settings of one server process: `DATA/nusec.json` first, then NUSEC_… environment variables over it.
 *  Everything listens on loopback and nothing is open without credentials by default. */
/** The environment has text: plain digits, without sign and exponent. */
function wholeNumber(least: number, most: number) {
  const error = `a whole number from ${least} to ${most} in plain digits`;
  return z.preprocess(
    value => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value),
    z.number({ error }).int({ error }).min(least, { error }).max(most, { error }),
  );
}
const port = wholeNumber(0, 65_535);
const publicPort = wholeNumber(1, 65_535).optional();

/** A list in an environment variable is JSON text. */
function jsonIn(value: unknown): unknown {
  try {
    return typeof value === 'string' ? JSON.parse(value) : value;
  } catch {
    return value;
  }
}

const count = z.number().int().min(1).max(1_000_000);
const waitMs = z.number().int().min(100).max(600_000);
/** Bounds of the MQTT port that depend on the fleet, over the defaults of `src/gateway/broker/limits.ts`, where each is explained. */
const mqttLimits = z.strictObject({
  maxConnections: z.exactOptional(count),
  maxStrangers: z.exactOptional(count),
  maxHandshakesInFlight: z.exactOptional(z.number().int().min(1).max(4096)),
  handshakePlaceMs: z.exactOptional(waitMs),
  handshakeTimeoutMs: z.exactOptional(waitMs),
  connectTimeoutMs: z.exactOptional(waitMs),
  maxKeepaliveSeconds: z.exactOptional(z.number().int().min(10).max(65_535)),
  connectsPerMinute: z.exactOptional(count),
  connectBurst: z.exactOptional(count),
  takeoversPerMinute: z.exactOptional(count),
  takeoverBurst: z.exactOptional(count),
  controlPacketsPerSecond: z.exactOptional(count),
  controlPacketBurst: z.exactOptional(count),
});

const bytesPerSecond = z
  .number()
  .int()
  .min(64 * 1024)
  .max(2 ** 40);
/** Firmware that goes out, over the defaults of `src/services/firmware/byteBudget.ts`. */
const otaLimits = z.strictObject({
  deviceBytesPerSecond: z.exactOptional(bytesPerSecond),
  totalBytesPerSecond: z.exactOptional(bytesPerSecond),
});

/** Plain HTTP only on this machine: everybody else could answer as the provider. */
const isTrustworthy = (url: string): boolean => /^(https:\/\/|http:\/\/(localhost|127\.0\.0\.1|\[::1\])[:/])/.test(url);
const openId = z.strictObject({
  /** As the provider writes it in its tokens. */
  issuer: z.url().refine(isTrustworthy, 'an issuer is https'),
  clientId: z.string().min(1),
  clientSecretFile: z.string().optional(),
  scope: z.string().default('openid profile groups'),
  /** Claim of the ID token with the groups of a person. */
  groupsClaim: z.string().default('groups'),
  groups: z.record(z.string(), z.array(z.string()).min(1)).default({}),
});

const webhooks = z.strictObject({
  /** Networks beside the Internet where receivers may be, such as 10.0.0.0/8. */
  privateNetworks: z.array(z.string()).max(64).default([]),
  /** Pause before the second attempt; it doubles with each further one, up to five minutes. */
  firstPauseMs: z.number().int().min(10).max(60_000).default(1000),
  /** How long a receiver that is not there is waited for before its events are given up. */
  giveUpSeconds: z
    .number()
    .int()
    .min(1)
    .max(7 * 86_400)
    .default(86_400),
});

const settingsSchema = z.strictObject({
  /** Folder of the event store, read models, keyset, custody and firmware store. */
  dataDir: z.string().min(1),
  host: z.string().default('127.0.0.1'),
  httpsPort: port.default(8443),
  mqttPort: port.default(8883),
  /** Plain HTTP, for CRLs only. */
  crlPort: port.default(8080),
  /** Where the servers of other machines reach this one: a name or address that they and this machine resolve alike. Used with a log in KurrentDB only. */
  linkHost: z.string().min(1).default('127.0.0.1'),
  /** Of the first process at a data folder; each further one takes the next. 0: any free port. */
  linkPort: port.default(8444),
  /** Takes TLS 1.2 too, for machines that know nothing newer; there their certificates cross the network in clear. */
  httpsTls12: z.stringbool().or(z.boolean()).default(false),
  mqttTls12: z.stringbool().or(z.boolean()).default(false),
  mqttLimits: z.preprocess(jsonIn, mqttLimits).default({}),
  otaLimits: z.preprocess(jsonIn, otaLimits).default({}),
  /** Folder of the sockets at which a TLS terminator of this machine hands MQTT connections on (docs/mqtt.md). Without it there is none. */
  mqttProxyFolder: z.string().min(1).optional(),
  /** TCP connections to the HTTPS port, and to that of CRLs and OCSP; beyond it those of the fullest address are ended. */
  httpsConnections: wholeNumber(10, 1_000_000).default(4000),
  /** Several processes of one machine listen on the same ports; the kernel gives each connection to one of them. */
  sharePorts: z.stringbool().or(z.boolean()).default(false),
  /** Host name or address under which machines reach the server: in certificates' CRL address, in packages and in the TLS server certificate. */
  publicHost: z.string().min(1).default('localhost'),
  /** Ports under which machines reach the server, where a balancer or a translation of addresses has others than this process listens on.
   *  Packages name that of HTTPS, certificates that of CRLs and OCSP. */
  publicHttpsPort: publicPort,
  publicMqttPort: publicPort,
  publicCrlPort: publicPort,
  /** File holding the keystore passphrase; without it the key file `DATA/keystore.key` (mode 600) opens the keyset. */
  passphraseFile: z.string().optional(),
  /** `pkcs11`: the keys live in the token of this label, reached through the vendor's library, with the user PIN in a file of mode 600. */
  keystore: z.enum(['software', 'pkcs11']).default('software'),
  pkcs11Module: z.string().optional(),
  pkcs11Token: z.string().optional(),
  pkcs11PinFile: z.string().optional(),
  /** How many minutes before now certificates, lists and OCSP answers begin to count, for clients whose clock is behind. */
  backdateMinutes: wholeNumber(0, 1440).default(60),
  /** Devices that one person revokes, decommissions, quarantines or releases alone within a day; gateways and programmers count with them. */
  effectsPerDay: wholeNumber(0, 1_000_000).default(10),
  /** How many days the address of a client can be read that gave too many wrong tokens; then its key is destroyed. */
  addressDays: wholeNumber(1, 3650).default(30),
  /** Signatures per minute, by the beginning of the key id, above which an alarm is raised; over the defaults. */
  signingLimits: z.record(z.string(), z.number().int().min(1)).default({}),
  /** Folder for what this machine remembers of its stores, such as the revocation high-water mark: where a backup of the data folder does not reach.
   *  Without it the state folder of the system. */
  stateDir: z.string().optional(),
  /** File of the revocation high-water mark, for example on another disk, instead of one in the state folder. */
  markFile: z.string().optional(),
  /** Folder, best on another disk or a share of another machine, that gets a copy of each checkpoint of the log. A start is held against it too. */
  witnessDir: z.string().optional(),
  /** Connection string of the KurrentDB that has the event log, `kurrentdb://HOST:2113`; without it the log is in the data folder. */
  eventStore: z
    .string()
    .regex(/^(kurrentdb|esdb)(\+discover)?:\/\//, 'is not kurrentdb://HOST:PORT')
    .optional(),
  /** File with one line `USER:PASSWORD` for it, of mode 600. */
  eventStoreCredentialsFile: z.string().optional(),
  /** `s3://BUCKET/PREFIX?endpoint=https://HOST` (src/objects/address.ts): what several machines share beside the log; without it the data folder has it. */
  objectStore: z.string().startsWith('s3://', 'is not s3://BUCKET/PREFIX').optional(),
  /** File with one line `ACCESS-KEY:SECRET` for it, of mode 600. */
  objectStoreCredentialsFile: z.string().optional(),
  /** Who gets each checkpoint of the log over HTTPS, and with a key cosigns it (C2SP tlog-witness). */
  witnesses: z
    .preprocess(jsonIn, z.array(z.strictObject({ url: z.url(), key: z.string().optional(), caFile: z.string().optional() })).max(8))
    .default([]),
  /** OpenID provider by which people sign in. */
  openId: z.preprocess(jsonIn, openId).optional(),
  webhooks: z.preprocess(jsonIn, webhooks).prefault({}),
  /** Whose approvals are confirmed with an authenticator (WebAuthn): of those who have registered one, everybody’s, or nobody’s. */
  confirmApprovals: z.enum(['registered', 'always', 'never']).default('registered'),
  /** Collector of OpenTelemetry that gets traces by OTLP over HTTP, such as http://localhost:4318; none without. */
  otlpEndpoint: z.url({ protocol: /^https?$/ }).optional(),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('warn'),
});

export type Settings = z.infer<typeof settingsSchema>;

/** Settings are handed on in groups: each part gets what it works with. */
export type ObjectStoreSettings = Pick<Settings, 'objectStore' | 'objectStoreCredentialsFile'>;
export type KeystoreSettings = ObjectStoreSettings &
  Pick<Settings, 'dataDir' | 'passphraseFile' | 'keystore' | 'pkcs11Module' | 'pkcs11Token' | 'pkcs11PinFile'>;
export type EventLogSettings = Pick<Settings, 'dataDir' | 'eventStore' | 'eventStoreCredentialsFile'> & {
  /** Two people want the store as it is, though it has less than was acknowledged. */
  readonly acceptOlder?: boolean;
};
export type StateSettings = Pick<Settings, 'dataDir' | 'stateDir' | 'markFile'>;
/** What opening the data folder takes. */
export type FolderSettings = KeystoreSettings &
  EventLogSettings &
  Pick<Settings, 'signingLimits' | 'publicHost' | 'publicHttpsPort' | 'publicCrlPort' | 'logLevel' | 'effectsPerDay' | 'backdateMinutes'>;

const environment = {
  host: 'NUSEC_HOST',
  httpsPort: 'NUSEC_HTTPS_PORT',
  mqttPort: 'NUSEC_MQTT_PORT',
  crlPort: 'NUSEC_CRL_PORT',
  linkHost: 'NUSEC_LINK_HOST',
  linkPort: 'NUSEC_LINK_PORT',
  httpsTls12: 'NUSEC_HTTPS_TLS12',
  mqttTls12: 'NUSEC_MQTT_TLS12',
  mqttLimits: 'NUSEC_MQTT_LIMITS',
  otaLimits: 'NUSEC_OTA_LIMITS',
  mqttProxyFolder: 'NUSEC_MQTT_PROXY_FOLDER',
  httpsConnections: 'NUSEC_HTTPS_CONNECTIONS',
  sharePorts: 'NUSEC_SHARE_PORTS',
  publicHost: 'NUSEC_PUBLIC_HOST',
  publicHttpsPort: 'NUSEC_PUBLIC_HTTPS_PORT',
  publicMqttPort: 'NUSEC_PUBLIC_MQTT_PORT',
  publicCrlPort: 'NUSEC_PUBLIC_CRL_PORT',
  passphraseFile: 'NUSEC_PASSPHRASE_FILE',
  keystore: 'NUSEC_KEYSTORE',
  pkcs11Module: 'NUSEC_PKCS11_MODULE',
  pkcs11Token: 'NUSEC_PKCS11_TOKEN',
  pkcs11PinFile: 'NUSEC_PKCS11_PIN_FILE',
  effectsPerDay: 'NUSEC_EFFECTS_PER_DAY',
  backdateMinutes: 'NUSEC_BACKDATE_MINUTES',
  addressDays: 'NUSEC_ADDRESS_DAYS',
  stateDir: 'NUSEC_STATE_DIR',
  markFile: 'NUSEC_MARK_FILE',
  witnessDir: 'NUSEC_WITNESS_DIR',
  witnesses: 'NUSEC_WITNESSES',
  eventStore: 'KURRENTDB_URL',
  eventStoreCredentialsFile: 'KURRENTDB_CREDENTIALS_FILE',
  objectStore: 'NUSEC_OBJECT_STORE',
  objectStoreCredentialsFile: 'NUSEC_OBJECT_STORE_CREDENTIALS_FILE',
  openId: 'NUSEC_OPENID',
  webhooks: 'NUSEC_WEBHOOKS',
  confirmApprovals: 'NUSEC_CONFIRM_APPROVALS',
  otlpEndpoint: 'OTEL_EXPORTER_OTLP_ENDPOINT',
  logLevel: 'NUSEC_LOG_LEVEL',
} as const satisfies Partial<Record<keyof Settings, string>>;

/** Where a program of this user keeps what it must remember and what no backup of a data folder holds (XDG base directories). */
export const stateFolder = (env: NodeJS.ProcessEnv = process.env): string =>
  join(env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'nusec');

/** Reads and checks the settings.
 *  @throws NusecError BAD_REQUEST naming the setting that is wrong */
export function readSettings(dataDir: string, env: NodeJS.ProcessEnv = process.env): Settings {
  const file = join(dataDir, 'nusec.json');
  const fromFile = existsSync(file) ? parseFile(file) : {};
  const fromEnv = Object.fromEntries(
    Object.entries(environment)
      .map(([key, name]) => [key, env[name]])
      .filter(([, value]) => value !== undefined && value !== ''),
  );
  const result = settingsSchema.safeParse({ ...fromFile, ...fromEnv, dataDir });
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new NusecError(
    'BAD_REQUEST',
    `setting ${issue?.path.join('.') || '(unknown)'}: ${issue?.message}; set it in ${file} or by environment`,
  );
}

function parseFile(file: string): object {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as object;
  } catch (cause) {
    throw new NusecError('BAD_REQUEST', `${file} is not valid JSON`, { cause });
  }
}
