import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { userInfo } from 'node:os';
import { eventually } from './fieldKit.ts';

const config = new URL('../../deploy/haproxy.cfg', import.meta.url).pathname;

/** Debian's HAProxy with deploy/haproxy.cfg. Resolves when it takes connections. @param folder of the server's sockets @param port on 127.0.0.1 */
export async function startProxy(folder: string, port: number): Promise<ChildProcess> {
  const { username, gid } = userInfo();
  const groups = readFileSync('/etc/group', 'utf8').split('\n');
  const group = groups.map(line => line.split(':')).find(([, , id]) => id === String(gid))?.[0];
  const env = { NUSEC_MQTT_PROXY_FOLDER: folder, NUSEC_MQTT_BIND: `127.0.0.1:${port}`, NUSEC_USER: username, NUSEC_GROUP: group };
  const child = spawn('haproxy', ['-db', '-f', config], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', text => {
    said += text;
  });
  child.once('exit', code => {
    if (code) console.error(`haproxy ended with ${code}: ${said}`);
  });
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`haproxy ended: ${said}`);
    const probe = connectTcp(port, '127.0.0.1');
    const isOpen = await Promise.race([once(probe, 'connect').then(() => true), once(probe, 'close').then(() => false)]).catch(() => false);
    probe.destroy();
    return isOpen;
  });
  return child;
}
