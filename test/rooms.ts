/** Room → rooms it may import. A room is a folder; a file of it belongs to the longest entry that its path begins with. A room stands below all
 *  that import it, so the table has no circle. Leaves may be imported by every room. */

export const leaves = [
  'src/bytes.ts',
  'src/keptMemory.ts',
  'src/closing.ts',
  'src/counted.ts',
  'src/defined.ts',
  'src/digest.ts',
  'src/ecKey.ts',
  'src/ecdsa.ts',
  'src/entry.ts',
  'src/errors.ts',
  'src/fileLock.ts',
  'src/folder.ts',
  'src/frames.ts',
  'src/listening.ts',
  'src/lru.ts',
  'src/nextAnswer.ts',
  'src/random.ts',
  'src/sealedBox.ts',
  'src/sqliteFile.ts',
  'src/times.ts',
  'src/userAgent.ts',
  'src/within.ts',
  'src/mqttTopics.ts',
] as const;

/** Files that processes begin with: they take over signals, messages and arguments as soon as they are loaded, so no file imports them. */
export const processEntries = [
  'src/cli/main.ts',
  'src/cli/spdmRequester.ts',
  'src/cli/spdmResponder.ts',
  'src/keystore/pkcs11/tokenProcess.ts',
] as const;

/** No socket, file, clock or random source: those come in as arguments. */
export const pureRooms = [
  'src/merkle',
  'src/evidence',
  'src/cbor',
  'src/cose',
  'src/domain',
  'src/eat',
  'src/pki',
  'src/production',
  'src/ota',
  'src/sbom',
  'src/spdm',
] as const;

const formats = [
  'src/evidence',
  'src/cbor',
  'src/cose',
  'src/domain',
  'src/eat',
  'src/pki',
  'src/production',
  'src/ota',
  'src/sbom',
  'src/spdm',
  'src/mqttMessages.ts',
];
const effects = ['src/merkle', 'src/objects', 'src/eventstore', 'src/uidlists', 'src/projections', 'src/keystore'];
const below = (...rooms: string[]): string[] => [...formats, ...effects, 'src/services/base', ...rooms.map(room => `src/services/${room}`)];
const edges = [
  'base',
  'authority',
  'revocation',
  'proof',
  'administration',
  'integration',
  'identity',
  'field',
  'firmware',
  'production',
  'start',
];

export const rooms: Readonly<Record<string, readonly string[]>> = {
  'src/cbor': [],
  'src/cose': ['src/cbor'],
  'src/domain': [],
  'src/eat': ['src/cbor', 'src/cose'],
  'src/pki': [],
  'src/production': ['src/cbor', 'src/cose', 'src/domain'],
  'src/ota': ['src/cbor', 'src/cose', 'src/domain', 'src/production'],
  'src/sbom': ['src/domain'],
  'src/spdm': [],
  'src/mqttMessages.ts': ['src/cbor', 'src/eat', 'src/pki', 'src/production', 'src/ota'],

  'src/merkle': [],
  'src/evidence': ['src/cbor', 'src/domain', 'src/eat', 'src/merkle', 'src/ota', 'src/pki', 'src/spdm'],
  'src/objects': [],
  'src/eventstore': ['src/domain', 'src/merkle', 'src/evidence', 'src/objects'],
  'src/uidlists': ['src/production', 'src/eventstore'],
  'src/projections': ['src/domain', 'src/pki', 'src/eventstore'],
  'src/keystore': ['src/cose', 'src/pki', 'src/production', 'src/objects'],
  'src/config.ts': [],

  'src/services/base': ['src/domain', 'src/spdm', ...effects],
  'src/services/processes': ['src/eventstore', 'src/keystore'],
  'src/services/dataFolder': ['src/config.ts', ...below('processes')],
  'src/services/authority': below(),
  'src/services/revocation': below('authority'),
  'src/services/proof': below('authority'),
  'src/services/administration': below('authority', 'revocation'),
  'src/services/integration': below(),
  'src/services/identity': below('authority', 'revocation'),
  'src/services/field': below('processes', 'authority', 'revocation', 'identity'),
  'src/services/firmware': below('authority', 'revocation', 'identity', 'field'),
  'src/services/production': below('authority', 'revocation', 'identity', 'field', 'firmware'),
  'src/services/start': below(
    'processes',
    'dataFolder',
    'authority',
    'revocation',
    'proof',
    'administration',
    'integration',
    'identity',
    'field',
    'firmware',
    'production',
  ),
  'src/services/backup': [
    'src/config.ts',
    ...below('dataFolder', 'authority', 'revocation', 'proof', 'administration', 'identity', 'field', 'firmware', 'production'),
  ],

  'src/gateway/broker': ['src/cbor'],
  'src/gateway/reach': ['src/gateway/broker', ...below('identity', 'field')],
  'src/gateway/topics': ['src/gateway/broker', 'src/gateway/reach', ...below('identity', 'field', 'firmware', 'start')],
  'src/gateway/conformance': ['src/gateway/broker', 'src/mqttMessages.ts', 'src/cbor', 'src/eat', 'src/pki', 'src/spdm'],
  'src/gateway': ['src/gateway/broker', 'src/gateway/reach', 'src/gateway/topics', ...below('processes', 'identity', 'start')],
  'src/api': below(...edges),

  'gateway-device/link': formats,
  'gateway-device/chip': ['gateway-device/link', ...formats],
  'gateway-device/device': ['gateway-device/link', 'gateway-device/chip', ...formats],
  'gateway-device/programmer': ['gateway-device/link', 'gateway-device/chip', ...formats],
  'gateway-device/agent': ['gateway-device/link', ...formats],

  'src/main.ts': ['src/config.ts', 'src/api', 'src/gateway', 'src/gateway/reach', ...below(...edges, 'processes', 'dataFolder', 'backup')],
  'src/cli': [
    'src/main.ts',
    'src/config.ts',
    'src/gateway/conformance',
    ...below('dataFolder', 'authority', 'proof', 'administration', 'backup'),
    ...['link', 'chip', 'device', 'programmer', 'agent'].map(room => `gateway-device/${room}`),
  ],
};
