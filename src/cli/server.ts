import { flushCompileCache } from 'node:module';
import type { Command } from 'commander';
import type { Settings } from '../config.ts';
import { definedOf } from '../defined.ts';
import type { RunningServer } from '../main.ts';
import { requirePasswordless } from './eventStoreOption.ts';
import { portNumber } from './options.ts';
import { print, record } from './output.ts';
import { runUntilStopped } from './process.ts';

type Options = {
  data: string;
  host?: string;
  httpsPort?: number;
  mqttPort?: number;
  crlPort?: number;
  publicHost?: string;
  linkHost?: string;
  linkPort?: number;
  eventStore?: string;
  objectStore?: string;
  sharePorts?: boolean;
  json?: boolean;
};

/** `nusec server`: API, MQTT gateway and CRL address in one process, until SIGTERM or SIGINT. Several may share a data folder. */
export function registerServer(program: Command): void {
  program
    .command('server')
    .description('run the server on a data folder that `nusec init` made')
    .requiredOption('--data <dir>', 'data folder')
    .option('--host <address>', 'address to listen on (NUSEC_HOST; default 127.0.0.1)')
    .option('--https-port <port>', 'API and console (NUSEC_HTTPS_PORT; default 8443)', portNumber)
    .option('--mqtt-port <port>', 'MQTT over TLS (NUSEC_MQTT_PORT; default 8883)', portNumber)
    .option('--crl-port <port>', 'plain HTTP for CRLs (NUSEC_CRL_PORT; default 8080)', portNumber)
    .option('--public-host <name>', 'name machines call the server by (NUSEC_PUBLIC_HOST; default localhost)')
    .option('--event-store <url>', 'KurrentDB that has the event log (KURRENTDB_URL; default: the data folder has it)')
    .option('--object-store <url>', 'what several machines share beside the log (NUSEC_OBJECT_STORE; default: the data folder has it)')
    .option('--link-host <name>', 'where the servers of other machines reach this one (NUSEC_LINK_HOST; default 127.0.0.1)')
    .option('--link-port <port>', 'port between servers, with a log in KurrentDB only (NUSEC_LINK_PORT; default 8444)', portNumber)
    .option('--share-ports', 'let other server processes of this machine listen on the same ports (NUSEC_SHARE_PORTS)')
    .option('--json', 'print the ready line as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ nusec server --data /var/lib/nusec
  $ nusec server --data ./data --host 0.0.0.0 --public-host nusec.example.com
  $ NUSEC_PUBLIC_HTTPS_PORT=443 nusec server --data ./data --public-host nusec.example.com    # behind a balancer with another port
  $ nusec server --data /var/lib/nusec --share-ports    # as often as there are processors
  $ KURRENTDB_CREDENTIALS_FILE=/run/secrets/kurrentdb nusec server --data /var/lib/nusec --event-store kurrentdb://db.example.com:2113`,
    )
    .action(async (options: Options) => {
      const { data, host, httpsPort, mqttPort, crlPort, publicHost, linkHost, linkPort, sharePorts, eventStore, objectStore } = options;
      const given = {
        NUSEC_HOST: host,
        NUSEC_HTTPS_PORT: httpsPort?.toString(),
        NUSEC_MQTT_PORT: mqttPort?.toString(),
        NUSEC_CRL_PORT: crlPort?.toString(),
        NUSEC_PUBLIC_HOST: publicHost,
        NUSEC_OBJECT_STORE: objectStore,
        NUSEC_LINK_HOST: linkHost,
        NUSEC_LINK_PORT: linkPort?.toString(),
        KURRENTDB_URL: eventStore && requirePasswordless(eventStore),
        NUSEC_SHARE_PORTS: sharePorts === undefined ? undefined : String(sharePorts),
      };
      const overrides = definedOf(given);
      const { readSettings } = await import('../config.ts');
      const { startServer } = await import('../main.ts');
      const { notifyReady } = await import('./systemd.ts');
      const settings = readSettings(data, { ...process.env, ...overrides });
      await runUntilStopped(
        () => startServer(settings),
        server => {
          sayReady(options, settings, server);
          notifyReady();
        },
      );
    });
}

function sayReady(options: Options, settings: Settings, { httpsPort, mqttPort, crlPort, linkPort, fault }: RunningServer): void {
  process.on('unhandledRejection', fault);
  // Node keeps it at an orderly end only, and whoever starts again after a kill -9 has devices waiting.
  flushCompileCache();
  const { publicHost, publicHttpsPort = httpsPort, publicMqttPort = mqttPort, publicCrlPort = crlPort } = settings;
  const url = `https://${publicHost}:${publicHttpsPort}`;
  const text = record({
    api: url,
    console: `${url}/console`,
    mqtt: `mqtts://${publicHost}:${publicMqttPort}`,
    crl: `http://${publicHost}:${publicCrlPort}/crl/`,
  });
  print(options, { ready: true, url, httpsPort, mqttPort, crlPort, ...(linkPort !== undefined && { linkPort }) }, text);
}
