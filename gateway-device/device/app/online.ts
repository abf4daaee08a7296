import { randomInt } from 'node:crypto';
import { toHex } from '../../../src/bytes.ts';
import { encodeAs } from '../../../src/cbor/schema.ts';
import { formatVersion } from '../../../src/domain/version.ts';
import { helloMessage } from '../../../src/mqttMessages.ts';
import type { PullRules } from '../../../src/ota/blockPlan.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { type BackoffLimits, defaultBackoff } from '../../backoff.ts';
import { connectMqtt, type NusecMqttClient } from '../../mqttClient.ts';
import type { Companion } from '../appStage.ts';
import type { StageContext } from '../board.ts';
import type { Chip } from '../chip.ts';
import { authKeySlot } from '../keyStore.ts';
import { createInstaller } from './installer.ts';
import { openOrderChannel } from './orderChannel.ts';
import { defaultPullRules } from './pull.ts';
import { openSpdmChannel } from './spdmChannel.ts';

/** The application of an online device (R85, R88): mutual TLS with the key in the KeyStore, hello on each connection, SPDM with the server,
 *  upgrades and orders. */

export type OnlineOptions = {
  readonly host: string;
  readonly port: number;
  /** Name in the server's certificate; default `host`. */
  readonly servername?: string;
  readonly nowSeconds: () => number;
  readonly backoff?: BackoffLimits;
  readonly pullRules?: PullRules;
  readonly retryMs?: number;
  /** A new image that has not reached the server by then restarts, and the bootloader goes back. */
  readonly selfTestMs?: number;
};

const defaultRetryMs = 5_000;
const defaultSelfTestMs = 120_000;

/** @returns undefined for a chip without certificates */
export const onlineDevice =
  (options: OnlineOptions) =>
  (context: StageContext): Companion => {
    const { chip, boot, tell, resetLater } = context;
    const secureContext = tlsOf(chip);
    if (!secureContext) return { stop: async () => undefined };
    let wasOnline = false;
    /** The same reason is told once, however often it is tried. */
    let lastFailure: string | undefined;
    const client = connectMqtt({
      host: options.host,
      port: options.port,
      servername: options.servername ?? options.host,
      tls: { secureContext },
      identity: { kind: 'device', uid: toHex(chip.uid) },
      backoff: options.backoff ?? defaultBackoff,
      onOnline: () => {
        wasOnline = true;
        tell({ event: 'connected' });
        void greet();
      },
      onOffline: error => {
        if (wasOnline) tell({ event: 'disconnected', text: error.message });
        else if (error.message !== lastFailure) tell({ event: 'unreachable', text: error.message });
        lastFailure = wasOnline ? undefined : error.message;
        wasOnline = false;
      },
    });
    const spdm = openSpdmChannel(context, client);
    openOrderChannel(context, client, options.nowSeconds);
    const { pullRules = defaultPullRules, nowSeconds, retryMs = defaultRetryMs } = options;
    const installer = createInstaller(context, { client, spdm }, { rules: pullRules, nowSeconds, retryMs });
    const selfTest = boot.confirmed ? undefined : setTimeout(() => resetLater('normal'), options.selfTestMs ?? defaultSelfTestMs);
    const greet = async (): Promise<void> => {
      try {
        await client.publish('hello', helloOf(context));
        await installer.online();
      } catch {
        // The connection is gone: the next one begins here again.
      }
    };
    return { stop: () => stop(client, installer, selfTest) };
  };

async function stop(client: NusecMqttClient, installer: { readonly stop: () => void }, selfTest?: NodeJS.Timeout): Promise<void> {
  clearTimeout(selfTest);
  installer.stop();
  await client.close();
}

/** Own certificate with its issuer, and the root in flash as the only trusted one. */
function tlsOf({ data, keyStore }: Chip) {
  const [root, ica, own] = ['rootCertificate', 'icaCertificate', 'deviceCertificate'].map(name => data.get(name));
  if (!root || !ica || !own || !keyStore.publicKey(authKeySlot)) return undefined;
  const cert = toPem('CERTIFICATE', own) + toPem('CERTIFICATE', ica);
  return keyStore.secureContext(authKeySlot, { cert, ca: toPem('CERTIFICATE', root) });
}

function helloOf({ chip, boot }: StageContext): Uint8Array {
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
  });
}
