import { randomInt } from 'node:crypto';
import { toHex } from '../../../src/bytes.ts';
import { encodeAs } from '../../../src/cbor/schema.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { helloMessage } from '../../../src/mqttMessages.ts';
import type { PullRules } from '../../../src/ota/blockPlan.ts';
import type { Seconds } from '../../../src/times.ts';
import type { TokenSource } from '../../chip/attestationToken.ts';
import type { StageContext } from '../../chip/board.ts';
import { type Trust, trustOf } from '../../chip/trust.ts';
import { type BackoffLimits, defaultBackoff } from '../../link/backoff.ts';
import { connectMqtt, type NusecMqttClient } from '../../link/mqttClient.ts';
import type { Companion } from '../appStage.ts';
import { openEatChannel } from './eatChannel.ts';
import { fetcher, openHttps } from './httpsPull.ts';
import { createInstaller } from './installer.ts';
import { discardLeftKeys, hasOperational, tlsOf, type Who } from './operational.ts';
import { openOrderChannel } from './orderChannel.ts';
import { defaultPullRules } from './pull.ts';
import { createRenewal } from './renewal.ts';
import { noSpdm, openSpdmChannel } from './spdmChannel.ts';
import { openTrustChannel, toldOf } from './trustChannel.ts';

/** The application of an online device (R85, R88): mutual TLS with the key in the KeyStore, hello on each connection, SPDM with the server,
 *  upgrades and orders. */

export type OnlineOptions = {
  readonly host: string;
  readonly port: number;
  /** Name in the server's certificate; default `host`. */
  readonly servername?: string;
  readonly nowSeconds: () => Seconds;
  readonly backoff?: BackoffLimits;
  readonly pullRules?: PullRules;
  readonly retryMs?: number;
  /** `https://host:port` of the API: blocks are fetched there first. */
  readonly https?: string;
  /** Gives PSA attestation tokens with this nonce: a device without SPDM. */
  readonly tokenFor?: TokenSource;
  /** A new image that has not reached the server by then restarts, and the bootloader goes back. */
  readonly selfTestMs?: number;
};

const defaultRetryMs = 5_000;
const defaultSelfTestMs = 120_000;

/** Refused so often one after the other, a device tries its other identity: an LDevID may have ended while it was off. */
const refusalsBeforeFallback = 2;

/** Does nothing on a chip without certificates. */
export const onlineDevice =
  (options: OnlineOptions) =>
  (context: StageContext): Companion => {
    const started = start(options, context).catch(error => {
      context.tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' });
      return undefined;
    });
    return { stop: async () => (await started)?.stop() };
  };

async function start(options: OnlineOptions, context: StageContext): Promise<Companion | undefined> {
  const { chip, boot, tell, resetLater } = context;
  if (!chip.data.get('rootCertificate')) return undefined;
  let trust = await trustOf(chip);
  discardLeftKeys(chip);
  let who: Who = hasOperational(chip) ? 'ldevid' : 'idevid';
  const tls = tlsOf(chip, who, trust);
  if (!tls) return undefined;
  let wasOnline = false;
  let refusals = 0;
  /** The same reason is logged once, for any number of attempts. */
  let lastFailure: string | undefined;
  const useTls = (next: Who): void => {
    const found = tlsOf(chip, next, trust);
    if (!found) return;
    who = next;
    client.useTls(found);
  };
  const client = connectMqtt({
    host: options.host,
    port: options.port,
    servername: options.servername ?? options.host,
    tls,
    serverTrust: () => trust,
    identity: { kind: 'device', uid: toHex(chip.uid) },
    backoff: options.backoff ?? defaultBackoff,
    onOnline: () => {
      wasOnline = true;
      refusals = 0;
      tell({ event: 'connected' });
      void greet();
    },
    onOffline: (error, isRefused) => {
      if (wasOnline) tell({ event: 'disconnected', text: error.message });
      else if (error.message !== lastFailure) tell({ event: 'unreachable', text: error.message });
      lastFailure = wasOnline ? undefined : error.message;
      wasOnline = false;
      refusals = isRefused ? refusals + 1 : 0;
      if (refusals % refusalsBeforeFallback === 1 || refusals === 0) return;
      if (hasOperational(chip)) useTls(who === 'ldevid' ? 'idevid' : 'ldevid');
    },
  });
  const tokenFor = options.tokenFor?.(context);
  const spdm = tokenFor === undefined ? openSpdmChannel(context, client) : noSpdm;
  openEatChannel(client, tokenFor);
  openOrderChannel(context, client, options.nowSeconds);
  openTrustChannel(context, client, next => {
    trust = next;
    useTls(who);
  });
  const becomeOperational = (): void => {
    who = 'ldevid';
  };
  const renewal = createRenewal(context, client, () => who, becomeOperational);
  const { https } = options;
  const fetchBlocks =
    https === undefined ? undefined : fetcher({ spdm, tell, open: () => openHttps(https, tlsOf(chip, who, trust), trust) });
  const { pullRules = defaultPullRules, nowSeconds, retryMs = defaultRetryMs } = options;
  const installer = createInstaller(context, { client, spdm, fetchBlocks }, { rules: pullRules, nowSeconds, retryMs });
  const selfTest = boot.confirmed ? undefined : setTimeout(() => resetLater('normal'), options.selfTestMs ?? defaultSelfTestMs);
  const greet = async (): Promise<void> => {
    try {
      await client.publish('hello', helloOf(context, trust));
      renewal.online();
      await installer.online();
    } catch {
      // The connection is gone: the next one begins here again.
    }
  };
  return { stop: () => stop(client, installer, selfTest) };
}

async function stop(client: NusecMqttClient, installer: { readonly stop: () => void }, selfTest?: NodeJS.Timeout): Promise<void> {
  clearTimeout(selfTest);
  installer.stop();
  await client.close();
}

function helloOf({ chip, boot }: StageContext, trust: Trust): Uint8Array {
  const app = boot.app;
  const objId = chip.data.get('objId');
  if (!app || !objId) throw new Error('the device is not provisioned');
  return encodeAs(helloMessage, {
    cid: randomInt(2 ** 32),
    version: formatVersion(app.version),
    securityCounter: app.securityCounter,
    imageHash: app.imageHash,
    bootCount: chip.bootCount(),
    imageState: boot.confirmed ? 'confirmed' : 'testing',
    objId,
    ...toldOf(trust),
  });
}
