import type { Alarms } from './alarms.ts';
import type { Context } from './context.ts';
import type { DeviceChannel } from './deviceChannel.ts';
import type { Field } from './field.ts';
import type { Pki } from './pki.ts';
import type { Revocations } from './revocations.ts';
import type { Trust } from './trust.ts';

/** What the edges (API, MQTT gateway) work with. */
export type Services = {
  readonly ctx: Context;
  readonly alarms: Alarms;
  readonly revocations: Revocations;
  readonly trust: Trust;
  readonly channel: DeviceChannel;
  readonly field: Field;
  readonly pki: Pki;
};
