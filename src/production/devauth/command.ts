import type { Codec, CodecType } from '../../cbor/schema.ts';
import type { stage } from '../fields.ts';
import type { ops } from './header.ts';

/** The stage of a device when a command arrives. `sealed` = inside an SPDM session. */
export type DevAuthStage = CodecType<typeof stage>;
export type Access = { readonly stage: DevAuthStage; readonly sealed: boolean };

/** One command of the protocol: its number, its two maps (the response without its code), and where it is allowed. */
export type Command<Request, Response> = {
  readonly id: number;
  readonly op: typeof ops.read | typeof ops.write;
  readonly request: Codec<Request>;
  readonly response: Codec<Response>;
  /** @returns undefined when allowed */
  readonly refusal: (access: Access) => 'bad-state' | 'unauthenticated' | undefined;
};

export const define = <Request, Response>(command: Command<Request, Response>): Command<Request, Response> => command;

export const anywhere = (): undefined => undefined;

export const inStages =
  (...stages: readonly DevAuthStage[]) =>
  ({ stage }: Access) =>
    stages.includes(stage) ? undefined : 'bad-state';

export const onlySealed = ({ sealed }: Access) => (sealed ? undefined : 'unauthenticated');

/** In the open only before there is an identity, that is in the DevAuth code in SRAM; later only sealed (RULE-14, T11). */
export const devauthOrSealed = ({ stage, sealed }: Access) => (stage === 'devauth' || sealed ? undefined : 'unauthenticated');
