import { fromHex } from '../../../src/bytes.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { rawSigner } from '../../../src/cose/sign1.ts';
import { sha256 } from '../../../src/digest.ts';
import { type GatewayVerdict, signVerdict } from '../../../src/production/verdict.ts';
import { attachDevice, registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { type Evidence, encodeEvidence } from '../../../src/spdm/evidence.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { responderOf, type Unit } from '../../gateway/fieldKit.ts';
import { type Key, makeCsr, makeKey } from '../../pki/support.ts';
import { type FieldBench, goodManners } from './fieldBench.ts';

/** What a gateway sends instead of the truth. */
export type Bent = {
  readonly evidence?: Evidence;
  /** Bytes that come in the place of evidence. */
  readonly bytes?: Uint8Array;
  readonly key?: Key;
  readonly verdict?: Partial<GatewayVerdict>;
};
export type Bend = (honest: { readonly evidence: Evidence; readonly nonce: Uint8Array; readonly sequence: number }) => Bent | Promise<Bent>;

type Messenger = { readonly id: string; readonly unit: Unit; readonly key: Key; readonly bend: Bend; readonly signingKey: Key };
type Asked = { readonly uid: string; readonly nonce: Uint8Array; readonly sequence: number; readonly timeSeconds: number };

/** What the gateway of a device answers when it is asked to attest it. */
export async function bentAnswer({ id, unit, key, bend, signingKey }: Messenger, { uid, nonce, sequence, timeSeconds }: Asked) {
  const responder = responderOf(unit, { ...goodManners(unit), signingKey });
  const honest = await runAttestation({ nonce, raw: true }, async wire => (await responder.handle(wire))!);
  const bent = await bend({ evidence: honest, nonce, sequence });
  const evidence = bent.bytes ?? encodeEvidence(bent.evidence ?? honest);
  const value = {
    gateway: id,
    uid: fromHex(uid),
    nonce: nonce.slice(0, 16),
    verdict: 'passed',
    spdmVersion: 0x12,
    transcriptSha256: sha256(evidence),
    bundleVersion: 1,
    timeSeconds,
    sequence,
  } as const;
  const signer = { kid: keyIdOf(key.spki), sign: rawSigner((bent.key ?? key).signer.sign) };
  return { evidence, verdict: await signVerdict({ ...value, ...bent.verdict }, signer) };
}

/** An honest gateway with this device on its wire; a test bends what it sends.
 *  @param signingKey of the device; a clone has another one than its certificate */
export async function openGateway(bench: FieldBench, id: string, unit: Unit, bend: Bend = () => ({}), signingKey = unit.key) {
  const key = makeKey();
  await registerGateway(bench.ctx, id, id, 'operator:olga');
  await certifyGateway(bench.ctx, id, makeCsr(key, { commonName: id }), 'operator:olga');
  await attachDevice(bench.ctx, bench.field.attachments, id, unit.uid, 'operator:olga');
  let sequence = 1;
  bench.gateways.set(id, async (uid, nonce) => {
    const at = { uid, nonce, sequence: sequence++, timeSeconds: Math.floor(bench.ctx.clock().getTime() / 1000) };
    return bentAnswer({ id, unit, key, bend, signingKey }, at);
  });
  return { keyId: keyIdOf(key.spki) };
}
