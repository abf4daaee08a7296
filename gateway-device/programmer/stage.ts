import { concat, equalBytes, fromHex, toHex } from '../../src/bytes.ts';
import { decodeAs } from '../../src/cbor/schema.ts';
import { sha256 } from '../../src/digest.ts';
import { type ErrorCode, isUnreachable, NusecError } from '../../src/errors.ts';
import { encodeOk, encodeRefusal } from '../../src/production/devauth/body.ts';
import { DevAuthError, type DevAuthReason } from '../../src/production/devauth/error.ts';
import { decodeMessage, encodeMessage, maxBodyDepth, responseTo } from '../../src/production/devauth/header.ts';
import { createDevAuthResponder } from '../../src/production/devauth/responder.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import type { StageContext, StageFactory } from '../chip/board.ts';
import { commonHandlers, maxBodyBytes, receiptOf } from '../chip/handlers.ts';
import { messageHandler } from '../chip/messages.ts';
import { agreeWithServer, type Core } from './core.ts';
import { giveUpUnit, isScrapGivenUp } from './giveUp.ts';
import { readIdentity, updateBundle } from './identity.ts';
import { remainingUnits } from './nvm.ts';
import { importPackage, packageOf } from './packageImport.ts';
import { produceUnit } from './produce.ts';
import {
  maxListedUnits,
  type ProgrammerCommandName,
  type ProgrammerRequest,
  type ProgrammerResponse,
  programmerCommands,
  programmerGroup,
} from './protocol.ts';
import { renewDevice, unlockDevice } from './repair.ts';
import { createRunner, type Runner } from './runner.ts';
import { connectTarget, probeTarget, type TargetAddresses } from './target.ts';
import { upgradeDevice } from './upgrade.ts';
import { erasedByZeroise, zeroiseJob } from './zeroise.ts';

/** The programmer's firmware at work, after the lock: HELLO and RESET as every chip, and group 65 for the operator's tool. */
export const programmerStage =
  (core: Core): StageFactory =>
  context => {
    const devAuth = createDevAuthResponder(commonHandlers(context, { current: undefined }), { stage: () => context.stage, maxBodyBytes });
    const common = messageHandler({ devAuth });
    const runner = createRunner(core);
    const handlers = createHandlers(core, runner, context);
    return {
      handle: async message => {
        const request = requestIn(message);
        if (!request) return common(message);
        const body = await answer(handlers, request, core);
        return encodeVendorMessage(encodeMessage({ ...request, op: responseTo(request.op), body }, programmerGroup), {
          integrityCheck: true,
        });
      },
      stop: () => runner.stop(),
    };
  };

type Handlers = {
  readonly [N in ProgrammerCommandName]: (request: ProgrammerRequest<N>) => ProgrammerResponse<N> | Promise<ProgrammerResponse<N>>;
};

/** @returns undefined for what is not of this group; other handlers may know it */
function requestIn(bytes: Uint8Array) {
  try {
    const { message, integrityCheck } = decodeVendorMessage(bytes);
    return integrityCheck ? decodeMessage(message, programmerGroup) : undefined;
  } catch {
    return undefined;
  }
}

/** Whatever comes over the link ends in an answer: nobody there can stop the programmer (T27). */
async function answer(
  handlers: Handlers,
  { op, command, body }: NonNullable<ReturnType<typeof requestIn>>,
  core: Core,
): Promise<Uint8Array> {
  const name = (Object.keys(programmerCommands) as ProgrammerCommandName[]).find(known => programmerCommands[known].id === command);
  if (!name || programmerCommands[name].op !== op) return encodeRefusal('bad-arg');
  const { request, response } = programmerCommands[name];
  try {
    const handle = handlers[name] as (params: unknown) => unknown;
    return encodeOk(response as never, (await handle(decodeAs(request as never, body, maxBodyDepth))) as never);
  } catch (error) {
    if (error instanceof DevAuthError) return encodeRefusal(error.reason);
    const code = error instanceof NusecError ? error.code : 'INTERNAL';
    core.tell({ event: 'refused', command: name, code });
    return encodeRefusal(reasons[code] ?? 'policy');
  }
}

const reasons: { readonly [Code in ErrorCode]?: DevAuthReason } = { CBOR_MALFORMED: 'bad-arg', NOT_FOUND: 'bad-arg', STATE: 'bad-state' };

/** A server that does not answer is no refusal: the host asks again later. */
function busyWhileUnreachable(error: unknown): never {
  throw isUnreachable(error) ? new DevAuthError('busy') : error;
}

type Upload = { readonly totalBytes: number; readonly sha256: Uint8Array; readonly received: Uint8Array };

function createHandlers(core: Core, runner: Runner, context: StageContext): Handlers {
  let upload: Upload | undefined;
  /** A run that only waits for the server makes room; its unit stays in the journal. @param place default: all */
  const idle = async (place?: string): Promise<void> => {
    await runner.endWaiting(place);
    if (runner.isRunning(place)) throw new DevAuthError('busy');
  };
  /** A dry run ends no run that waits. */
  const judged = <Result>(judge: () => Result): Result => {
    if (runner.isAtWork()) throw new DevAuthError('busy');
    return judge();
  };
  const start = async (place: string, work: Parameters<Runner['start']>[1]) => {
    await idle(place);
    const runId = runner.start(place, work);
    if (runId === undefined) throw new DevAuthError('busy');
    return { runId };
  };
  return {
    status: () => statusOf(core),
    agreeKek: async ({ serverUrl, bundle }) => {
      await idle();
      if (bundle) await updateBundle(core.chip, readIdentity(core.chip), bundle);
      return { epoch: await agreeWithServer(core, serverUrl).catch(busyWhileUnreachable) };
    },
    packagePut: ({ offset, totalBytes, data, sha256 }) => {
      const before = sha256 ? { totalBytes, sha256, received: new Uint8Array() } : upload;
      const fits = before?.totalBytes === totalBytes && before.received.length === offset && offset + data.length <= totalBytes;
      if (!fits) throw new DevAuthError('bad-arg');
      upload = { ...before, received: concat(before.received, data) };
      return { nextOffset: upload.received.length };
    },
    packageImport: async () => {
      await idle();
      const file = upload;
      upload = undefined;
      const whole = file && file.received.length === file.totalBytes && equalBytes(sha256(file.received), file.sha256);
      if (!whole) throw new DevAuthError('bad-state');
      const { packageId, jobId, remaining } = await importPackage(core, file.received);
      return { packageId, jobId, count: remaining };
    },
    produce: async ({ serialAddress, debugAddress, jobId }) => {
      const target = { serial: serialAddress, debug: debugAddress };
      return start(serialAddress, async (report, patience, label) => {
        const { uid, remaining, values } = await produceUnit(core, target, { report, patience, jobId: jobId && toHex(jobId) });
        label(values);
        return { event: 'unit-committed', uid, remaining };
      });
    },
    probe: async ({ serialAddress, debugAddress }) => {
      if (runner.isRunning(serialAddress)) throw new DevAuthError('busy');
      const uid = await uidOnWires({ serial: serialAddress, debug: debugAddress });
      return uid === undefined ? {} : { uid: fromHex(uid) };
    },
    inspect: async ({ packageId }) => {
      const job = Object.values(core.nvm.state().jobs).find(each => each.packageId === toHex(packageId));
      if (!job) throw new DevAuthError('bad-state');
      const payload = await packageOf(core, readIdentity(core.chip), job);
      const { jobId, count, sequence, expiresAtSeconds, images, unitData = [], configWords } = payload;
      return {
        ...{ jobId, count, sequence, expiresAtSeconds },
        images: images.map(({ id, version }) => ({ id, version })),
        unitData: unitData.map(({ name, destination }) => ({ name, destination })),
        ...(configWords && { configWords }),
      };
    },
    unlock: ({ serialAddress }) =>
      start(serialAddress, async report => ({ event: 'device-unlocked', uid: await unlockDevice(core, serialAddress, report) })),
    renew: ({ serialAddress }) =>
      start(serialAddress, async report => ({ event: 'device-returned', uid: await renewDevice(core, serialAddress, report) })),
    upgrade: ({ serialAddress }) =>
      start(serialAddress, async report => ({ event: 'device-served', ...(await upgradeDevice(core, serialAddress, report)) })),
    progress: ({ since, runId }) => runner.progress(since, runId),
    zeroise: async ({ jobId, dryRun }) => {
      if (dryRun) return { erasedCount: judged(() => erasedByZeroise(core, toHex(jobId))) };
      await idle();
      const erasedCount = await zeroiseJob(core, toHex(jobId));
      runner.deliverSoon();
      return { erasedCount };
    },
    giveUp: async ({ uid, dryRun }) => {
      if (dryRun) return { isScrap: judged(() => isScrapGivenUp(core, toHex(uid))) };
      await idle();
      const isScrap = await giveUpUnit(core, toHex(uid));
      runner.deliverSoon();
      return { isScrap };
    },
    receipt: async ({ nonce }) => ({ receipt: await receiptOf(context, nonce) }),
  };
}

/** @returns undefined when no chip answers there */
async function uidOnWires(addresses: TargetAddresses): Promise<string | undefined> {
  try {
    const target = await connectTarget(addresses);
    return await probeTarget(target).finally(() => target.close());
  } catch (error) {
    if (error instanceof NusecError && ['LINK_FAILED', 'LINK_TIMEOUT'].includes(error.code)) return undefined;
    throw error;
  }
}

function statusOf({ chip, keks, nvm }: Core): ProgrammerResponse<'status'> {
  const { jobs, units } = nvm.state();
  const uids = Object.keys(units).map(fromHex).slice(0, maxListedUnits);
  const listed = Object.values(jobs);
  return {
    stage: 'programmer',
    uid: chip.uid,
    jobs: listed.map(job => ({ jobId: fromHex(job.jobId), remaining: remainingUnits(job), sequence: job.sequence })),
    kekEpoch: keks.epoch(),
    ledgerHeads: listed.map(({ ledger }) => fromHex(ledger.headSha256)),
    ...(uids[0] && { unitUid: uids[0], unitUids: uids }),
  };
}
