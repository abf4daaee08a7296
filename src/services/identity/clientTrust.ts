import { sha256Hex } from '../../digest.ts';
import { authorityStream } from '../../domain/authority.ts';
import type { EventType } from '../../domain/events.ts';
import { NusecError } from '../../errors.ts';
import { lru } from '../../lru.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { minuteMs } from '../../times.ts';
import { type Authorities, authorityOf, recordedIssuers, trustedRoots } from '../authority/authority.ts';
import { retiredRoots } from '../authority/olderRoots.ts';
import { type Alarms, createAlarms } from '../base/alarms.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { issuedTo } from './issuedCertificates.ts';
import { identifyMachine, isOfLine, type Machine, type Manner, misusedIssuer, type TrustAnchors } from './machines.ts';

/** Judges client certificates with what is trusted now: roots and issuers are read again whenever the authority's stream grows. */
export type ClientTrust = {
  /** Who this is: the chain is valid, its issuing CA issues for such a machine (and this line), and the log has issued this very certificate.
   *  @param leaf DER @param manner who looks at revocations himself learns by `isRevoked: () => false` whose certificate it is
   *  @throws NusecError as identifyMachine; CHAIN_REFUSED too when the log does not have it, with an alarm */
  identify(leaf: Uint8Array, manner?: Manner): Promise<Machine>;
  /** The same without asking the log: for who was identified before, when trust has changed, and where the log is asked otherwise.
   *  @param line of the device, where it is known */
  judge(leaf: Uint8Array, line?: string): Machine;
  /** Called when issuers came or went: whatever was judged before must be judged again. @returns what ends that */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
};

/** What was judged a moment ago: a machine asks ten times for one unit, and each check of its chain is as much work as a signature. Revocation, dates
 *  and what is trusted are looked at each time. */
type Judged = {
  readonly machine: Machine;
  readonly anchors: TrustAnchors;
  readonly sinceMs: number;
  readonly untilMs: number;
  /** Of the certificate and its issuing CA. */
  readonly serials: readonly string[];
};
const judgedForMs = minuteMs;

type IsRevoked = (serialHex: string) => boolean;

const anchorsOf = (authorities: Authorities): TrustAnchors => ({
  roots: trustedRoots(authorities),
  retiredRoots: retiredRoots(authorities),
  issuers: recordedIssuers(authorities),
});

/** Certificates that the log is known to have issued. */
const maxKnownIssued = 50_000;

export async function startClientTrust(ctx: Context, revocations: Revocations, alarms: Alarms = createAlarms(ctx)): Promise<ClientTrust> {
  const read = async (): Promise<TrustAnchors> => anchorsOf(await authorityOf(ctx));
  let anchors = await read();
  const listeners = new Set<() => void>();
  const stream = authorityStream(ctx.project);
  const changes = new Set<EventType>([
    'IssuingCaActivated',
    'IssuingCaEstablished',
    'IssuingCaCompromised',
    'RootCaRolled',
    'RootCaRetired',
  ]);
  const follower = ctx.followers.follow('client trust', ctx.store.seen(), async events => {
    if (!events.some(event => event.stream === stream && changes.has(event.type))) return;
    anchors = await read();
    for (const listener of listeners) listener();
  });
  const issued = lru<true>(maxKnownIssued);
  const judged = lru<Judged>(maxKnownIssued);
  const judge = (leaf: Certificate, line?: string, manner: Manner = {}): Machine =>
    identifyMachine(leaf, anchors, ctx.clock().toISOString(), { isRevoked: revocations.isRevoked, ...manner }, line);

  /** A certificate that verifies and yet cannot be: somebody else signs with the key of an issuing CA (T17). */
  const alarm = async (icaId: string, what: string): Promise<void> => {
    const detail = `${what}: its key is in other hands, or the log is not whole`;
    await alarms.raise({ code: 'CA_MISUSED', subject: icaId, detail });
  };
  const judgeWithAlarm = async (leaf: Certificate, line?: string, manner?: Manner): Promise<Machine> => {
    try {
      return judge(leaf, line, manner);
    } catch (error) {
      const misused = error instanceof NusecError && error.code === 'CHAIN_REFUSED' ? misusedIssuer(leaf, anchors, line) : undefined;
      if (misused !== undefined) await alarm(misused.icaId, `signed a certificate that it does not issue (${(error as Error).message})`);
      throw error;
    }
  };
  const stillCounts = (known: Judged, isRevoked: IsRevoked = revocations.isRevoked): boolean => {
    const nowMs = ctx.clock().getTime();
    const isNow = known.anchors === anchors && nowMs >= known.sinceMs && nowMs < known.untilMs;
    return isNow && !known.serials.some(serial => isRevoked(serial));
  };
  const remembered = (sha256: string, leaf: Certificate, machine: Machine): Machine => {
    const issuer = anchors.issuers.find(({ icaId }) => icaId === machine.icaId)?.certificate;
    if (issuer === undefined) return machine;
    const sinceMs = ctx.clock().getTime();
    const untilMs = Math.min(sinceMs + judgedForMs, ...[leaf, issuer].map(({ notAfter }) => Date.parse(notAfter)));
    judged.set(sha256, { machine, anchors, sinceMs, untilMs, serials: [machine.serialHex, issuer.serialHex] });
    return machine;
  };
  return {
    judge: (der, line) => judge(parseCertificate(der), line),
    async identify(der, manner = {}) {
      const { isRevoked = revocations.isRevoked } = manner;
      const sha256 = sha256Hex(der);
      const known = judged.get(sha256);
      if (known !== undefined && stillCounts(known, isRevoked)) return known.machine;
      const leaf = parseCertificate(der);
      if (issued.get(sha256)) return remembered(sha256, leaf, judge(leaf, undefined, manner));
      const before = anchors;
      const machine = await judgeWithAlarm(leaf, undefined, manner);
      const record = await issuedTo(ctx, machine);
      if (record === undefined) {
        // An alarm says that an issuing CA has signed it: that is verified here.
        judge(leaf, undefined, { isRevoked });
        await alarm(machine.icaId, `the log has no certificate ${machine.serialHex} of ${machine.kind} ${machine.id}`);
        throw new NusecError('CHAIN_REFUSED', 'certificate 0 was not issued by this project');
      }
      // Its signature holds as it did. Where anything has changed meanwhile, or is refused, all of it is judged again.
      const isAsBefore = anchors === before && isOfLine(leaf, anchors, isRevoked, record.line);
      if (!isAsBefore) await judgeWithAlarm(leaf, record.line, manner);
      issued.set(sha256, true);
      return remembered(sha256, leaf, machine);
    },
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => follower.close(),
  };
}
