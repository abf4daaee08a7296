import type { Alarms } from '../base/alarms.ts';
import type { Context } from '../base/context.ts';
import type { DeviceChannel } from '../field/deviceChannel.ts';
import type { Trust } from '../identity/clientTrust.ts';
import type { Pki } from '../revocation/pki.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { Field } from './field.ts';

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
