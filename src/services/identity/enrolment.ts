import { toBase64url } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor, IsoTime } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import type { DeviceCommand } from '../../domain/deviceCommands.ts';
import type { IssuedCertificate } from '../../domain/deviceEvents.ts';
import { requireNextGeneration } from '../../domain/deviceRepair.ts';
import { currentCertificate, type LivingDevice } from '../../domain/deviceState.ts';
import { type GatewayState, gateway, gatewayStream, proposedKeyOf, type RegisteredGateway } from '../../domain/gateway.ts';
import { line, lineStream, policyOf } from '../../domain/line.ts';
import { programmer, programmerStream } from '../../domain/programmer.ts';
import type { Curve } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import type { Read } from '../../eventstore/handle.ts';
import { judgeCsr, judgeUnproven, requirePossession, type UnprovenRequest } from '../../pki/csr.ts';
import type { NameFields } from '../../pki/names.ts';
import { isInLastThird } from '../../times.ts';
import { authorityIn, ocspUrlOf } from '../authority/authority.ts';
import { createAlarms } from '../base/alarms.ts';
import { always, both, type Condition, type Context, execute, executeIf, nowIso, reader, stateOf } from '../base/context.ts';
import { livingDevice, livingDeviceIn } from '../base/livingDevice.ts';
import { type CertificateFacts, certificationIntents, type Enrolment, issueLeaf, reservingKey, subjectOf } from './issuance.ts';
import { storedCertificate } from './storedCertificate.ts';

/** From a certification request to a certificate: the request proves possession, the key is reserved permanently (I4), the certificate comes
 *  from the profile alone (T32). The same request gives the same certificate until that is due for renewal (RULE-10, I6). */

/** First certificate of a programmer (R11–R16), or the next one of the same key.
 *  @param csr PKCS#10 DER @param expected subject it may carry; default: that of the profile
 *  @throws NusecError NOT_FOUND, CONFLICT (another key), and what judgeCsr and the key reservation refuse */
export async function certifyProgrammer(ctx: Context, uid: string, csr: Uint8Array, by: Actor, expected?: NameFields): Promise<Enrolment> {
  const stream = programmerStream(uid);
  const read = reader(ctx);
  const state = await read(programmer, stream);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no programmer ${uid}`);
  const authorities = await authorityIn(read, ctx.project);
  const request = judgeCsr(csr, expected ?? subjectOf(ctx, authorities, 'programmer', { uid }));
  const publicKeySha256 = sha256Hex(request.publicKey);
  const holder = { kind: 'programmer', uid } as const;
  const enrolled = { type: 'EnrolProgrammerKey', publicKey: toBase64url(request.publicKey), publicKeySha256 } as const;
  await reservingKey(ctx, publicKeySha256, holder, by, together => execute(together, programmer, stream, enrolled, by));
  const certificates = async (together: Context) => certificatesOf(await stateOf(together, programmer, stream));
  return issueLeaf(ctx, authorities, {
    profile: 'programmer',
    holder,
    use: 'programmer',
    csr,
    request,
    by,
    fields: { uid },
    current: async together => {
      const known = (await certificates(together)).at(-1);
      return known && !(await isDue(ctx, known)) ? { publicKeySha256, ...known } : undefined;
    },
    intents: certificationIntents('programmer', uid, by, async (together, serial) =>
      (await certificates(together)).some(certificate => certificate.serial === serial),
    ),
    async record(together, { publicKeySha256: _, ...facts }, condition) {
      const type = (await certificates(together)).length === 0 ? 'CertifyProgrammer' : 'RenewProgrammerCertificate';
      const { state: after } = await executeIf(together, condition, programmer, stream, { type, ...facts }, by);
      return { publicKeySha256, ...facts, ...certificatesOf(after).find(({ serial }) => serial === facts.serial) };
    },
  });
}

/** First certificate of a gateway, or a later one, for the same or a new key. A person who asks with another key than a live gateway has only
 *  proposes it; when another person asks for the same key, it takes the place of those before, with an alarm (T20, I16).
 *  @param secondPerson what the other person has to be, for a proposal of this id in the gateway's stream
 *  @throws NusecError FOUR_EYES_REQUIRED, and as certifyProgrammer */
export async function certifyGateway(
  ctx: Context,
  gatewayId: string,
  csr: Uint8Array,
  by: Actor,
  expected?: NameFields,
  secondPerson: (proposalId: string) => Condition = () => always,
): Promise<Enrolment> {
  const stream = gatewayStream(gatewayId);
  const read = reader(ctx);
  const state = await read(gateway, stream);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no gateway ${gatewayId}`);
  const authorities = await authorityIn(read, ctx.project);
  const request = judgeUnproven(csr, expected ?? subjectOf(ctx, authorities, 'gateway', { id: gatewayId }));
  const publicKeySha256 = sha256Hex(request.publicKey);
  const isPerson = by.startsWith('operator:');
  /** Whoever asks for a key that is proposed agrees to it. */
  const mayAsk: Condition = async read => {
    if (isPerson && isProposed(await read(gateway, stream), publicKeySha256, nowIso(ctx))) await secondPerson(publicKeySha256)(read);
  };
  if (isPerson) await agreeOnKey(ctx, state, request, by, mayAsk);
  const certificates = async (together: Context) =>
    certificatesOf(await stateOf(together, gateway, stream)).filter(({ ended }) => ended !== true);
  return issueLeaf(ctx, authorities, {
    profile: 'gateway',
    holder: { kind: 'gateway', uid: gatewayId },
    agreed: isPerson && isProposed(state, publicKeySha256, nowIso(ctx)) && isNewTo(state, publicKeySha256),
    use: 'gateway',
    csr,
    request,
    by,
    fields: { id: gatewayId },
    current: together => currentOf(together, certificates, publicKeySha256),
    intents: certificationIntents('gateway', gatewayId, by, async (together, serial) =>
      (await certificates(together)).some(certificate => certificate.serial === serial),
    ),
    async record(together, facts, condition) {
      const asked = isPerson ? { asked: { by, now: nowIso(ctx) } } : {};
      const command = { type: 'CertifyGateway', ...facts, ...asked } as const;
      const { state: after } = await executeIf(together, both(condition, mayAsk), gateway, stream, command, by);
      return certificatesOf(after).find(({ serial }) => serial === facts.serial) ?? facts;
    },
  });
}

const isProposed = (state: GatewayState, publicKeySha256: string, now: IsoTime): boolean =>
  state.status !== 'NONE' && proposedKeyOf(state, publicKeySha256, now) !== undefined;

const isNewTo = (state: GatewayState, publicKeySha256: string): boolean =>
  certificatesOf(state).every(known => known.ended === true || known.publicKeySha256 !== publicKeySha256);

/** @param before as it was read: whether there is still nothing to agree on is compared again when the certificate is recorded */
async function agreeOnKey(
  ctx: Context,
  before: RegisteredGateway,
  { publicKey, proof }: UnprovenRequest,
  by: Actor,
  mayAsk: Condition,
): Promise<void> {
  const { gatewayId } = before;
  const publicKeySha256 = sha256Hex(publicKey);
  const ask = { type: 'AskForGatewayKey', publicKeySha256, by, now: nowIso(ctx) } as const;
  if (!isProposed(before, publicKeySha256, ask.now) && gateway.decide(ask, before).length === 0) return;
  requirePossession(proof);
  const { events, state } = await executeIf(ctx, mayAsk, gateway, gatewayStream(gatewayId), ask, by);
  const text = `the key ${publicKeySha256} for the live gateway ${gatewayId}`;
  if (events.length > 0) {
    await createAlarms(ctx).raise({ code: 'GATEWAY_KEY_PROPOSED', subject: `gateway-${gatewayId}`, detail: `${by} proposes ${text}` });
    throw new NusecError('FOUR_EYES_REQUIRED', `${text} is proposed: another person must ask with the same request`);
  }
  if (isProposed(state, publicKeySha256, ask.now) && isNewTo(state, publicKeySha256))
    await createAlarms(ctx).raise({ code: 'GATEWAY_REPLACED', subject: `gateway-${gatewayId}`, detail: `${by} has agreed to ${text}` });
}

/** Certificates in a state, newest last. */
export function certificatesOf<C>(
  state: { readonly status: 'NONE' } | { readonly status: string; readonly certificates: readonly C[] },
): readonly C[] {
  return 'certificates' in state ? state.certificates : [];
}

/** The newest certificate of a key, unless it is due for renewal. */
export async function currentOf<C extends CertificateFacts>(
  ctx: Context,
  certificates: (ctx: Context) => Promise<readonly C[]>,
  publicKeySha256: string,
): Promise<C | undefined> {
  const known = (await certificates(ctx)).findLast(certificate => certificate.publicKeySha256 === publicKeySha256);
  return known && !(await isDue(ctx, known)) ? known : undefined;
}

/** Certificate of a minted device, its IDevID (R78), or of its next generation.
 *  @param condition what else has to be so for intent and result
 *  @throws NusecError CSR_SUBJECT (another UID or registration id), CONFLICT (this unit asked with another key), and as certifyProgrammer */
export async function certifyDevice(
  ctx: Context,
  uid: string,
  csr: Uint8Array,
  by: Actor,
  condition: Condition = always,
): Promise<Enrolment> {
  const read = reader(ctx);
  const state = await livingDeviceIn(read, uid);
  const { objId } = registrationOf(state);
  const authorities = await authorityIn(read, ctx.project);
  const request = judgeUnproven(csr, subjectOf(ctx, authorities, 'device', { uid, objId }), await curvesOf(read, state.line));
  const publicKeySha256 = sha256Hex(request.publicKey);
  const decide = (together: Context, command: DeviceCommand, alsoIf: Condition = always) =>
    executeIf(together, both(condition, alsoIf), device, deviceStream(uid), command, by);
  return issueLeaf(ctx, authorities, {
    profile: 'device',
    holder: { kind: 'device', uid, objId },
    use: 'device',
    line: state.line,
    csr,
    request,
    by,
    fields: { uid, objId, ocspUrl: ocspUrlOf(ctx) },
    current: async together => {
      const { certificate } = registrationOf(await livingDevice(together, uid));
      return certificate?.publicKeySha256 === publicKeySha256 ? certificate : undefined;
    },
    // In the device's own stream: it is the intent that a unit and its key are bound by.
    intents: {
      async atHand(together) {
        const { certification } = await livingDevice(together, uid);
        return certification?.publicKeySha256 === publicKeySha256 ? certification : undefined;
      },
      async record(together, wanted) {
        const facts = { ...wanted, csr: { signatureVerified: true, uid, objId } };
        const { state: after } = await decide(together, { type: 'RequestCertification', ...facts });
        if (after.status === 'NONE' || after.certification === undefined)
          throw new NusecError('DEVICE_STATE', 'the intent was not recorded');
        return after.certification;
      },
      drop: async () => undefined,
    },
    async record(together, facts, stillSigns) {
      const { state: after } = await decide(together, { type: 'CertifyDevice', ...facts }, stillSigns);
      return certificatesOf(after).find(({ serial }) => serial === facts.serial) ?? facts;
    },
  });
}

/** Those that devices of a line may prove themselves with. */
async function curvesOf(read: Read, name: string): Promise<readonly Curve[]> {
  const known = await read(line, lineStream(name));
  const { signatures } = policyOf(known.status === 'NONE' ? {} : known);
  return (['P-256', 'P-384'] as const).filter(curve => signatures.includes(curve));
}

/** Which registration is to be certified, and the certificate it has: in repair those of the next generation. @throws NusecError DEVICE_STATE */
function registrationOf(state: LivingDevice): { readonly objId: string; readonly certificate?: IssuedCertificate | undefined } {
  return state.status === 'RMA' ? requireNextGeneration(state) : { objId: state.objId, certificate: currentCertificate(state) };
}

/** Whether the last third of this certificate's life has begun. */
export async function isDue(ctx: Context, known: Pick<CertificateFacts, 'certificateSha256'>): Promise<boolean> {
  return isInLastThird(await storedCertificate(ctx, known.certificateSha256), ctx.clock().getTime());
}
