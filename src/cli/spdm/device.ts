import { createHash, createPublicKey, sign } from 'node:crypto';
import { concat, utf8 } from '../../bytes.ts';
import { curveOf, digestOf } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { bitString, context, integerOf, oid, sequence } from '../../pki/derWriter.ts';
import { signatureAlgorithms } from '../../pki/keys.ts';
import { encodeName } from '../../pki/names.ts';
import { type MeasurementSource, measurementType } from '../../spdm/measurement.ts';
import type { LoadedSlots } from './slots.ts';

/** What the command-line responder measures and answers as a device. */

/** The set `count`: that many images, a configuration, a secure version number. */
export function measurementSet(count: number): readonly MeasurementSource[] {
  const images = Array.from(
    { length: count },
    (_, i): MeasurementSource => ({
      index: i + 1,
      type: i === 0 ? measurementType.immutableRom : measurementType.mutableFirmware,
      form: 'either',
      value: new Uint8Array(
        createHash('sha512')
          .update(`image ${i + 1}`)
          .digest(),
      ),
      tcb: i < 2,
    }),
  );
  const svn = {
    index: 0x10,
    type: measurementType.secureVersionNumber,
    form: 'raw',
    value: Uint8Array.of(7, 0, 0, 0, 0, 0, 0, 0),
  } as const;
  const manifest = { index: 0xfd, type: manifestType, form: 'raw', value: utf8('example measurement manifest') } as const;
  return [...images, svn, manifest];
}

/** DMTFSpecMeasurementValueType of a measurement manifest. */
const manifestType = 4;

/** id-ml-dsa-44 to -87 (RFC 9881). */
const mlDsaAlgorithms: Readonly<Record<string, Uint8Array>> = {
  'ml-dsa-44': sequence(oid('2.16.840.1.101.3.4.3.17')),
  'ml-dsa-65': sequence(oid('2.16.840.1.101.3.4.3.18')),
  'ml-dsa-87': sequence(oid('2.16.840.1.101.3.4.3.19')),
};

/** A certification request (RFC 2986) with the slot's own key, ECDSA or ML-DSA. */
export function certificationRequest({ key }: LoadedSlots): Uint8Array {
  const spki = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));
  const curve = curveOf(spki);
  const algorithm = curve ? signatureAlgorithms[curve] : mlDsaAlgorithms[key.asymmetricKeyType ?? ''];
  if (!algorithm) throw new NusecError('KEY_REFUSED', 'no certification requests for this kind of key');
  const subject = { commonName: 'spdm-responder', serialNumber: '00112233445566778899aabbccddeeff' };
  const info = sequence(integerOf(0), encodeName(subject), spki, context(0));
  const signature = new Uint8Array(sign(curve ? digestOf[curve] : null, info, key));
  return sequence(info, algorithm, bitString(signature));
}

/** MCTP messages in a session: PLDM GetTID (DSP0240 §10.2) is answered with terminus 1, everything else comes back as it was. */
export function answerApplication(data: Uint8Array): Uint8Array {
  const [type, instance, pldmType, command] = data;
  const isGetTid = type === 0x01 && pldmType === 0x00 && command === 0x02;
  return isGetTid ? concat(Uint8Array.of(0x01, (instance ?? 0) & 0x1f, 0x00, 0x02, 0x00, 0x01)) : data;
}
