import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { sha256 } from '../../../src/digest.ts';
import { NusecError } from '../../../src/errors.ts';
import { trustMessage, trustReply } from '../../../src/mqttMessages.ts';
import type { StageContext } from '../../chip/board.ts';
import { type Trust, takeBundle, trustOf } from '../../chip/trust.ts';
import type { NusecMqttClient } from '../../link/mqttClient.ts';

/** Trust bundles over dn/trust (RULE-16): taken when a trusted root signed them and they are newer, and answered with what is trusted then. */

/** What hello and up/trust say of a trust. */
export const toldOf = ({ bundle, roots }: Trust) => ({ bundleVersion: bundle?.version ?? 0, roots: roots.map(sha256) });

/** @param onTrust what is trusted from now on */
export function openTrustChannel(
  { chip, tell }: StageContext,
  client: Pick<NusecMqttClient, 'on' | 'publish'>,
  onTrust: (trust: Trust) => void,
): void {
  const take = async (bundle: Uint8Array): Promise<{ trust: Trust; error?: string }> => {
    const before = await trustOf(chip);
    try {
      const trust = await takeBundle(chip, bundle);
      if (trust.bundle?.version === before.bundle?.version) return { trust: before };
      tell({ event: 'trust', version: trust.bundle?.version ?? 0 });
      onTrust(trust);
      return { trust };
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      tell({ event: 'refused', what: 'trust bundle', code: error.code });
      return { trust: before, error: error.code };
    }
  };
  const answer = async (payload: Uint8Array): Promise<void> => {
    const { cid, bundle } = decodeAs(trustMessage, payload);
    const { trust, error } = await take(bundle);
    await client.publish('trust', encodeAs(trustReply, { cid, ...toldOf(trust), ...(error !== undefined && { error }) }));
  };
  let turn: Promise<void> = Promise.resolve();
  client.on('trust', payload => {
    // What is no message is not answered, and a lost answer is asked for again.
    turn = turn.then(() => answer(payload)).catch(() => undefined);
  });
}
