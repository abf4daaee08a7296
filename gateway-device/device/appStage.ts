import { createDevAuthResponder, type DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import type { TokenSource } from '../chip/attestationToken.ts';
import type { StageContext, StageFactory } from '../chip/board.ts';
import { firmwareHandlers } from '../chip/firmwareHandlers.ts';
import { commonHandlers, maxBodyBytes, type OrderNonce, otpHandler, putHandler, receiptHandler } from '../chip/handlers.ts';
import { messageHandler, spdmResponder } from '../chip/messages.ts';
import { carryOutWipe, checkedOrder, debugUnlockHandler, takeNonce } from '../chip/orders.ts';
import { downgradePermits } from './app/judgement.ts';

/** What the application does beside answering the serial link. */
export type Companion = { readonly stop: () => Promise<void> };

/** The application (BL3) of a provisioned device: proves itself by SPDM on its UART, takes upgrades and signed orders inside sessions.
 *  @param companion  started with it: the MQTT side of an online device
 *  @param tokenFor  of a device without SPDM: its PSA attestation tokens */
export const appStage =
  (companion?: (context: StageContext) => Companion, tokenFor?: TokenSource): StageFactory =>
  context => {
    const orderNonce: OrderNonce = { current: undefined };
    const handlers: DevAuthHandlers = {
      ...commonHandlers(context, orderNonce),
      ...firmwareHandlers(context, downgradePermits(context)),
      put: putHandler(context),
      otp: otpHandler(context),
      receipt: receiptHandler(context),
      wipe: wipeHandler(context, orderNonce),
      debugUnlock: debugUnlockHandler(context, orderNonce),
      ...(tokenFor && { attest: attestHandler(tokenFor(context)) }),
    };
    const options = { stage: () => context.stage, maxBodyBytes };
    const devAuth = createDevAuthResponder(handlers, options);
    // A gateway brings what others have signed, and changes nothing else.
    const { hello, reset, fwBegin, fwChunk, fwEnd, receipt, wipe } = handlers;
    const relayed = Object.entries({ hello, reset, fwBegin, fwChunk, fwEnd, receipt, wipe }).filter(([, handler]) => handler !== undefined);
    const gateway = createDevAuthResponder(Object.fromEntries(relayed) as DevAuthHandlers, options);
    const beside = companion?.(context);
    const spdm = tokenFor === undefined ? { spdm: spdmResponder(context, { programmer: devAuth, gateway }) } : {};
    const handle = messageHandler({ devAuth, ...spdm });
    return { handle, ...(beside && { stop: beside.stop }) };
  };

const attestHandler =
  (tokenFor: ReturnType<TokenSource>): NonNullable<DevAuthHandlers['attest']> =>
  async ({ nonce }) => ({ token: await tokenFor(nonce) });

/** On the wire the order names the nonce of the last HELLO (T31). */
function wipeHandler(context: StageContext, orderNonce: OrderNonce): NonNullable<DevAuthHandlers['wipe']> {
  return async ({ order }) => {
    const { nonce } = await checkedOrder(context, order, { operation: 'wipe', nonce: takeNonce(orderNonce) });
    const receipt = await carryOutWipe(context, nonce);
    context.resetLater('normal');
    return { receipt };
  };
}
