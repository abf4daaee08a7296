import { DevAuthError } from '../../src/production/devauth/error.ts';
import { createDevAuthResponder, type DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import type { StageContext, StageFactory } from './board.ts';
import { firmwareHandlers } from './firmwareHandlers.ts';
import { commonHandlers, maxBodyBytes, type OrderNonce, otpHandler, putHandler, receiptHandler } from './handlers.ts';
import { messageHandler, spdmResponder } from './messages.ts';
import { debugUnlockHandler } from './orders.ts';
import { rekeyHandler, signNextCriHandler } from './rekey.ts';

/** BL2 waiting on the serial link (R43–R56): proves itself by SPDM, closes the debug port, and takes firmware, signed orders and the next
 *  generation's identity inside a session. */
export const bl2Stage: StageFactory = context => {
  const orderNonce: OrderNonce = { current: undefined };
  const handlers: DevAuthHandlers = {
    ...commonHandlers(context, orderNonce),
    ...firmwareHandlers(context),
    keygen: rekeyHandler(context, orderNonce),
    signCri: signNextCriHandler(context),
    put: putHandler(context),
    otp: otpHandler(context),
    lock: lockHandler(context),
    receipt: receiptHandler(context),
    debugUnlock: debugUnlockHandler(context, orderNonce),
  };
  const devAuth = createDevAuthResponder(handlers, { stage: () => context.stage, maxBodyBytes });
  return { handle: messageHandler({ devAuth, spdm: spdmResponder(context, { programmer: devAuth }) }) };
};

const order = ['manufacture', 'deployed', 'rma', 'decommissioned'] as const;

/** Closes; never opens. Repeated it answers the same. Decommissioning takes a signed order. */
function lockHandler({ chip }: StageContext): NonNullable<DevAuthHandlers['lock']> {
  return ({ debugState, lifeCycle }) => {
    const goesBack = order.indexOf(lifeCycle) < order.indexOf(chip.lifeCycle());
    if (lifeCycle === 'decommissioned' || lifeCycle === 'rma') throw new DevAuthError('policy');
    if (goesBack || (debugState !== 'locked' && chip.debugState() === 'locked')) throw new DevAuthError('locked');
    if (debugState === 'unlocked') throw new DevAuthError('bad-arg');
    if (debugState === 'locked') chip.lock();
    chip.setLifeCycle(lifeCycle);
    return { debugState: chip.debugState(), lifeCycle: chip.lifeCycle() };
  };
}
