import { expect, it } from 'vitest';
import { readSettings } from '../src/config.ts';

/** Settings come from the environment or `DATA/nusec.json`, and what is wrong is named. */

it('takes limits of the MQTT port as JSON, and only those there are', () => {
  const limits = (text: string) => readSettings('/nowhere', { NUSEC_MQTT_LIMITS: text }).mqttLimits;
  expect(readSettings('/nowhere', {}).mqttLimits).toEqual({});
  expect(limits('{"maxConnections": 50000, "connectBurst": 40}')).toEqual({ maxConnections: 50_000, connectBurst: 40 });
  const ota = (text: string) => readSettings('/nowhere', { NUSEC_OTA_LIMITS: text }).otaLimits;
  expect(ota('{"totalBytesPerSecond": 1000000000}')).toEqual({ totalBytesPerSecond: 1_000_000_000 });
  expect(() => ota('{"totalBytesPerSecond": 1}')).toThrow(/otaLimits\.totalBytesPerSecond/);
  expect(() => limits('{"maxConnection": 1}')).toThrow(/mqttLimits.*maxConnection/);
  expect(() => limits('{"maxStrangers": 0}')).toThrow(/mqttLimits\.maxStrangers/);
  expect(() => limits('many')).toThrow(/mqttLimits/);
});
