import { join } from 'node:path';
import { MqttClient } from 'mqtt';
import { startMcu } from '../../gateway-device/device/mcu.ts';

/** Several virtual MCUs in one process, on a link that loses messages, switched off and on at random.
 *  `node mcuGroup.ts FOLDER INDEXES PORT LOSS_PERCENT RESETS PAUSE_MS`: chips in FOLDER/{index}; PORT of MQTT on loopback; PAUSE_MS before a reset, on
 *  average */

const [folder = '', indexes = '', port = '', lossPercent = '0', resets = '0', pauseMs = '0'] = process.argv.slice(2);
const isLost = (): boolean => Math.random() * 100 < Number(lossPercent);

/** What comes is lost behind the acknowledgement, what goes before it is sent: at QoS 0, and answers on SPDM, which the server asks for again. */
const { emit, publish } = MqttClient.prototype;
MqttClient.prototype.emit = function lossyEmit(this: MqttClient, ...event: Parameters<typeof emit>) {
  return (String(event[0]) === 'message' && isLost()) || Reflect.apply(emit, this, event);
} as typeof emit;
MqttClient.prototype.publish = function lossyPublish(this: MqttClient, topic: string, ...rest: unknown[]) {
  const done = rest.at(-1);
  if (/\/up\/(spdm|ota\/)/.test(topic) && isLost() && typeof done === 'function') {
    done();
    return this;
  }
  return Reflect.apply(publish, this, [topic, ...rest]);
} as typeof publish;

const start = (index: string) =>
  startMcu({
    folder: join(folder, index),
    newIdentity: () => {
      throw new Error(`there is no chip ${index}`);
    },
    online: { host: '127.0.0.1', port: Number(port), servername: 'localhost' },
    tell: () => undefined,
  });

const names = indexes.split(',');
const running = new Map(await Promise.all(names.map(async name => [name, await start(name)] as const)));
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);

/** One at a time, each at a random moment. */
for (let left = Number(resets); left > 0; left -= 1) {
  await new Promise(resolve => setTimeout(resolve, Math.random() * 2 * Number(pauseMs)));
  const name = names[Math.floor(Math.random() * names.length)] ?? '';
  await running.get(name)?.close();
  running.set(name, await start(name));
}
