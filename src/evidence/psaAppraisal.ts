import { toHex } from '../bytes.ts';
import type { LifeCycle, PsaToken, SoftwareComponent } from '../eat/psaClaims.ts';
import { measurementIndex } from '../ota/measurementIndex.ts';

/** Judges what a PSA attestation token says (RFC 9783 §7) by the same reference values as the measurements of SPDM. */

type Reference = { readonly index: number /** Hex. */; readonly value: string };

export type TokenPolicy = {
  /** On which side of the device the one who asks for tokens has to be. */
  readonly caller: 'non-secure' | 'secure';
  /** Hex; any when not given. */
  readonly implementationId?: string;
  /** Hex of 33 bytes. */
  readonly instanceId: string;
};

type JudgedComponent<R extends Reference> = {
  /** Measurement index whose reference values count. */
  readonly index: number;
  readonly name: string;
  /** Hex. */
  readonly value: string;
  readonly version?: string;
  readonly reference?: R;
  readonly judgement: 'equal' | 'differs' | 'not judged';
};

export type Appraisal<R extends Reference> = { readonly components: readonly JudgedComponent<R>[]; readonly flaws: readonly string[] };

const { bl2, application } = measurementIndex;

/** The index of what no reference value is for. */
const noIndex = 0;
const configuration = /_CONFIG$/;
const bootloader = /^BL/;

/** By the measurement type (RFC 9783 §4.4.1.1): boot loaders, and everything else that runs. */
function indexOf({ type = '' }: SoftwareComponent): number {
  if (configuration.test(type)) return noIndex;
  return bootloader.test(type) ? bl2 : application;
}

const words: Readonly<Record<LifeCycle, string>> = {
  unknown: 'unknown',
  assemblyAndTest: 'assembly and test',
  psaRotProvisioning: 'provisioning',
  secured: 'secured',
  nonPsaRotDebug: 'the application can be debugged',
  recoverablePsaRotDebug: 'the root of trust can be debugged',
  decommissioned: 'decommissioned',
};

/** Every component that runs must equal a reference value of its index, and every index with reference values must be there: a device runs nothing
 *  beside what the registry knows. Without any reference value nothing is compared here. */
export function appraiseToken<R extends Reference>(token: PsaToken, references: readonly R[], policy: TokenPolicy): Appraisal<R> {
  const components = token.components.map(component => judged(component, references));
  const missing = [...new Set(references.map(({ index }) => index))].filter(index => !components.some(one => one.index === index));
  return {
    components,
    flaws: [
      ...identityFlaws(token, policy),
      ...(token.lifeCycle === 'secured' ? [] : [`life cycle: ${words[token.lifeCycle]}`]),
      ...missing.map(index => `${index === bl2 ? 'bootloader' : 'application'}: missing`),
      ...components.filter(({ judgement }) => judgement === 'differs').map(({ name }) => `${name}: value`),
    ],
  };
}

function identityFlaws({ clientId, instanceId, implementationId }: PsaToken, policy: TokenPolicy): readonly string[] {
  const caller = clientId < 0 ? 'non-secure' : 'secure';
  const isOtherKind = policy.implementationId !== undefined && policy.implementationId !== toHex(implementationId);
  return [
    ...(caller === policy.caller ? [] : [`client id: the ${caller} side of the device has asked for the token`]),
    ...(toHex(instanceId) === policy.instanceId ? [] : ['instance id: not that of the key']),
    ...(isOtherKind ? ['implementation id: not that of the line'] : []),
  ];
}

function judged<R extends Reference>(component: SoftwareComponent, references: readonly R[]): JudgedComponent<R> {
  const { type, version } = component;
  const [index, value] = [indexOf(component), toHex(component.value)];
  const own = references.filter(reference => reference.index === index);
  const reference = own.find(one => one.value === value);
  const name = index === bl2 ? 'bootloader' : index === application ? 'application' : (type ?? '');
  const judgement = own.length === 0 ? 'not judged' : reference === undefined ? 'differs' : 'equal';
  return { index, name, value, judgement, ...(version !== undefined && { version }), ...(reference && { reference }) };
}
