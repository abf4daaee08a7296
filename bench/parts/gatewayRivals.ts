import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { reservePorts } from '../../scripts/demo/ports.ts';
import { moduleBeside } from '../../src/entry.ts';
import type { Target } from './gatewayClient.ts';

/** The brokers beside which the gateway is measured, with a server certificate of the same kind: a P-256 leaf under an intermediate CA. */

export type Rival = {
  readonly name: string;
  readonly target: Target;
  readonly pid: number;
  restart?(): Promise<void>;
  close(): Promise<void>;
};

const servername = 'localhost';

/** A server certificate, made by openssl. @returns the paths, and its root as PEM */
function makeServerCertificate(folder: string): { readonly key: string; readonly cert: string; readonly root: string } {
  mkdirSync(folder, { recursive: true });
  const path = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const key = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  openssl('req', ...key, '-keyout', 'root.key', '-subj', '/CN=root', '-x509', '-days', '2', '-out', 'root.pem');
  const signed = (name: string, issuer: string, extensions: string): void => {
    writeFileSync(path(`${name}.ext`), extensions);
    openssl('req', ...key, '-keyout', `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
    const by = ['-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`, '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...by);
  };
  signed('ica', 'root', 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign');
  signed('server', 'ica', `subjectAltName=DNS:${servername}\nextendedKeyUsage=serverAuth`);
  execFileSync('sh', ['-c', 'cat server.pem ica.pem > chain.pem'], { cwd: folder });
  return { key: path('server.key'), cert: path('chain.pem'), root: execFileSync('cat', [path('root.pem')], { encoding: 'utf8' }) };
}

/** @param clientCa file of the roots of client certificates @returns undefined when Mosquitto is not installed */
export async function startMosquitto(folder: string, clientCa: string): Promise<Rival | undefined> {
  const program = ['/usr/sbin/mosquitto', '/usr/bin/mosquitto', '/usr/local/sbin/mosquitto'].find(existsSync);
  if (program === undefined) return undefined;
  const { key, cert, root } = makeServerCertificate(join(folder, 'mosquitto'));
  const reserved = await reservePorts(1);
  const [port = 0] = reserved.ports;
  const config = join(folder, 'mosquitto.conf');
  const lines = [
    ...['persistence false', 'log_type error', 'max_queued_messages 0', 'set_tcp_nodelay true', 'allow_anonymous true', 'user root'],
    ...[`listener ${port} 127.0.0.1`, `cafile ${clientCa}`, `certfile ${cert}`, `keyfile ${key}`, 'require_certificate true'],
    'tls_version tlsv1.3',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  let child: ChildProcess;
  const begin = async (): Promise<void> => {
    child = spawn(program, ['-c', config], { stdio: 'ignore' });
    await listening(port);
  };
  await begin();
  return {
    name: 'mosquitto',
    target: { port, ca: root, servername },
    get pid() {
      return child.pid ?? 0;
    },
    async restart() {
      await ended(child);
      await begin();
    },
    async close() {
      await ended(child);
      reserved.close();
    },
  };
}

export async function startAedes(folder: string, clientCa: string): Promise<Rival> {
  const { key, cert, root } = makeServerCertificate(join(folder, 'aedes'));
  const child = fork(moduleBeside(import.meta.url, 'gatewayAedes'), [key, cert, clientCa]);
  const [port] = (await once(child, 'message')) as [number];
  return { name: 'stock Aedes', target: { port, ca: root, servername }, pid: child.pid ?? 0, close: () => ended(child) };
}

async function ended(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

async function listening(port: number): Promise<void> {
  for (;;) {
    const isOpen = await new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await sleep(20);
  }
}
