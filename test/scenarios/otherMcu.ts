import { generateKeyPairSync, sign } from 'node:crypto';
import { startMcu } from '../../gateway-device/device/mcu.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import type { CertSlots } from '../../src/spdm/certSlot.ts';
import { capability, type SpdmVersion, spdmVersionName, spdmVersions } from '../../src/spdm/constants.ts';
import { allAlgorithms } from '../../src/spdm/negotiation.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { signingContextOf } from '../../src/spdm/signature.ts';

/** A virtual MCU on its serial line, as a process of its own, whose programs speak something else in SPDM than ours: `node otherMcu.ts FOLDER KIND [PORT]`.
 *  Its ready line has the public key that is to be enrolled, where it has one of its own. */

type Kind = { readonly speaks: (ours: ResponderOptions) => ResponderOptions; readonly publicKey?: string };

const { certificate, chunk, publicKeyId } = capability;
const maxMessageBytes = 0x28000;

const changed = (ours: ResponderOptions, more: number, less = 0): Pick<ResponderOptions, 'capabilities'> => {
  const { flags = deviceFlags, ...sizes } = ours.capabilities ?? { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes };
  return { capabilities: { ...sizes, flags: (flags & ~less) | more, ...(more & chunk && { maxMessageBytes }) } };
};
const withVersion =
  (version: SpdmVersion): Kind['speaks'] =>
  ours => ({ ...ours, versions: [version] });

/** Known by a key that is not that of its certificate. */
function withKey(version: SpdmVersion, algorithms: Partial<typeof allAlgorithms>, name: 'P-384' | 'ml-dsa-65'): Kind {
  const { publicKey, privateKey } =
    name === 'P-384' ? generateKeyPairSync('ec', { namedCurve: name }) : generateKeyPairSync(name as 'ml-dsa-65');
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const signed = (input: Uint8Array, hash: string) =>
    name === 'P-384'
      ? sign(hash, input, { key: privateKey, dsaEncoding: 'ieee-p1363' })
      : sign(null, input, { key: privateKey, context: signingContextOf(input) } as never);
  return {
    publicKey: toPem('PUBLIC KEY', spki),
    speaks: ours => ({
      ...ours,
      ...changed(ours, publicKeyId | chunk, certificate),
      versions: [version],
      slots: [],
      algorithms: { ...allAlgorithms, ...algorithms },
      provisionedKey: { publicKey: spki, sign: async (input, hash) => new Uint8Array(signed(input, hash)) },
    }),
  };
}

/** Known by the key of its certificate, which it does not show. */
const withOwnKey: Kind['speaks'] = ours => {
  const [slot] = ours.slots as CertSlots;
  if (slot === undefined) return ours;
  const { spki } = parseCertificate(slot.certificates.at(-1) ?? new Uint8Array());
  return { ...ours, ...changed(ours, publicKeyId, certificate), slots: [], provisionedKey: { publicKey: spki, sign: slot.sign } };
};

/** 56 blocks of 240 bytes behind the measurements of ours. */
const withChunks: Kind['speaks'] = ours => ({
  ...ours,
  ...changed(ours, chunk),
  measurements: async () => [
    ...(await ours.measurements()),
    ...Array.from({ length: 56 }, (_, i) => ({ index: 0x20 + i, type: 3, form: 'raw', value: new Uint8Array(240).fill(i) }) as const),
  ],
});

const kinds: Readonly<Record<string, () => Kind>> = {
  ...Object.fromEntries(spdmVersions.map(version => [spdmVersionName(version), () => ({ speaks: withVersion(version) })])),
  chunks: () => ({ speaks: withChunks }),
  'own key': () => ({ speaks: withOwnKey }),
  'P-384 key': () => withKey(0x12, { baseAsym: 0x80, baseHash: 0x2 }, 'P-384'),
  'ML-DSA-65 key': () => withKey(0x14, { baseAsym: 0, pqcAsym: 0x2 }, 'ml-dsa-65'),
};

const [folder = '', name = '', port = '0'] = process.argv.slice(2);
const { speaks, publicKey } = kinds[name]!();
const tell = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const newIdentity = (): never => {
  throw new Error(`no chip in ${folder}`);
};
const { ready, close } = await startMcu({ folder, newIdentity, ports: { serialPort: Number(port) }, tell, spdm: speaks });
process.once('SIGTERM', () => void close().then(() => process.exit(0)));
tell({ ...ready, publicKey });
