import { sha256Hex } from '../../digest.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { requireCertifiable } from '../../domain/deviceIdentity.ts';
import { NusecError } from '../../errors.ts';
import { judgeUnproven } from '../../pki/csr.ts';
import type { NameFields } from '../../pki/names.ts';
import { ldevidUnit } from '../../pki/profiles.ts';
import { authorityIn, ocspUrlOf } from '../authority/authority.ts';
import { type Context, executeIf, reader, stateOf } from '../base/context.ts';
import { livingDeviceIn } from '../base/livingDevice.ts';
import { certificatesOf, currentOf } from './enrolment.ts';
import { certificationIntents, type Enrolment, issueLeaf } from './issuance.ts';
import { storedCertificate } from './storedCertificate.ts';

/** The operational certificate of a device (LDevID, IEEE 802.1AR): short-lived, for a key of its own, asked for with the certificate it has, over
 *  EST or MQTT. The certificate of its production (IDevID) stays what it falls back to. */

/** Who asks, as the connection proved it (RULE-9). */
export type CertifiedDevice = { readonly uid: string; readonly certificateSha256: string };

/** The same key gets its present certificate until the last third of its life, then a new one; a new key gets one immediately. Asked again after a
 *  crash it gives the same.
 *  @param csr PKCS#10 DER; its subject is empty or that of the certificate shown
 *  @throws NusecError DEVICE_STATE (not in use), WEAK_OR_CLONED_KEY, CA_NOT_ACTIVE, and as judgeCsr */
export async function certifyOperational(ctx: Context, { uid, certificateSha256 }: CertifiedDevice, csr: Uint8Array): Promise<Enrolment> {
  const by = `device:${uid}`;
  const present: NameFields = (await storedCertificate(ctx, certificateSha256)).subject;
  const read = reader(ctx);
  const state = await livingDeviceIn(read, uid);
  requireCertifiable(state);
  const request = judgeUnproven(csr, { ...present, organizationalUnit: ldevidUnit, commonName: state.objId, serialNumber: uid });
  const publicKeySha256 = sha256Hex(request.publicKey);
  if (state.certificates.some(known => known.serial === state.serial && known.publicKeySha256 === publicKeySha256))
    throw new NusecError('KEY_REFUSED', 'the key is that of the IDevID: an operational certificate has a key of its own');
  const certificates = async (together: Context) =>
    certificatesOf(await stateOf(together, device, deviceStream(uid))).filter(
      ({ serial, status }) => serial !== state.serial && status === 'issued',
    );
  return issueLeaf(ctx, await authorityIn(read, ctx.project), {
    profile: 'ldevid',
    holder: { kind: 'device', uid, objId: state.objId },
    use: 'device',
    line: state.line,
    csr,
    request,
    by,
    fields: { uid, objId: state.objId, ocspUrl: ocspUrlOf(ctx) },
    current: together => currentOf(together, certificates, publicKeySha256),
    intents: certificationIntents('ldevid', uid, by, async (together, serial) =>
      (await certificates(together)).some(each => each.serial === serial),
    ),
    async record(together, facts, condition) {
      const command = { type: 'IssueOperationalCertificate', ...facts } as const;
      const { state: after } = await executeIf(together, condition, device, deviceStream(uid), command, by);
      return certificatesOf(after).find(({ serial }) => serial === facts.serial) ?? facts;
    },
  });
}
