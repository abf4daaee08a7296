import { fromBase64url, toBase64url, utf8 } from '../../bytes.ts';
import { sha256Hex } from '../../digest.ts';
import type { Actor } from '../../domain/actor.ts';
import { operatorOf } from '../../domain/operatorEffects.ts';
import { operators, operatorsStream } from '../../domain/operators.ts';
import { type Authenticator, authenticatorsOf } from '../../domain/operatorsState.ts';
import { NusecError } from '../../errors.ts';
import type { Parts } from '../base/alarms.ts';
import { type Context, execute, newHexId, stateOf } from '../base/context.ts';
import { tellOfPeople } from './operators.ts';

/** Authenticators with which people confirm approvals (W3C Web Authentication, level 3). The library verifies; who has which, and how far it has
 *  counted, is in the log. */

/** Where the console is for the browser: `https://host:8443` and its host. */
export type ConsolePlace = { readonly origin: string; readonly rpId: string };
/** 32 bytes, made by the caller for one purpose. */
export type Challenge = Uint8Array<ArrayBuffer>;
/** As `PublicKeyCredential.toJSON()` of the browser gives it. */
export type BrowserAnswer = { readonly id: string; readonly [name: string]: unknown };

const confirmationMs = 60_000;

export const authenticatorsNow = async (ctx: Context, name: string): Promise<readonly Authenticator[]> =>
  authenticatorsOf(operatorOf(await stateOf(ctx, operators, operatorsStream), name));

/** What the browser is asked for to register one. */
export async function registrationOptions(ctx: Context, name: string, { rpId }: ConsolePlace, challenge: Challenge) {
  const { generateRegistrationOptions } = await import('@simplewebauthn/server');
  return generateRegistrationOptions({
    rpName: `NuSEC ${ctx.project}`,
    rpID: rpId,
    userName: name,
    userID: new Uint8Array(utf8(sha256Hex(utf8(`${ctx.project} ${name}`)).slice(0, 32))),
    challenge,
    timeout: confirmationMs,
    attestationType: 'none',
    excludeCredentials: (await authenticatorsNow(ctx, name)).map(({ credentialId }) => ({ id: credentialId })),
    authenticatorSelection: { residentKey: 'discouraged', userVerification: 'preferred' },
  });
}

/** @throws NusecError CONFIRMATION_REFUSED, CONFLICT (registered already), RATE_LIMITED */
export async function addAuthenticator(
  parts: Parts,
  name: string,
  { label, answer, challenge, place }: { label: string; answer: BrowserAnswer; challenge: Challenge; place: ConsolePlace },
  by: Actor,
): Promise<{ readonly id: string }> {
  const { verifyRegistrationResponse } = await import('@simplewebauthn/server');
  const { registrationInfo } = await verified(() =>
    verifyRegistrationResponse({
      response: answer as never,
      expectedChallenge: toBase64url(challenge),
      expectedOrigin: place.origin,
      expectedRPID: place.rpId,
      requireUserVerification: false,
    }),
  );
  if (registrationInfo === undefined) throw new NusecError('CONFIRMATION_REFUSED', 'the authenticator did not prove its key');
  const { id: credentialId, publicKey, counter } = registrationInfo.credential;
  const id = newHexId(parts.ctx);
  const added = { id, label, credentialId, publicKey: toBase64url(publicKey), rpId: place.rpId, signCount: counter };
  await execute(parts.ctx, operators, operatorsStream, { type: 'AddOperatorAuthenticator', name, ...added }, by);
  await tellOfPeople(parts, name, `${by} confirms approvals with one more authenticator, ${id}`);
  return { id };
}

/** What the browser is asked for to confirm. */
export async function confirmationOptions(ctx: Context, name: string, { rpId }: ConsolePlace, challenge: Challenge) {
  const { generateAuthenticationOptions } = await import('@simplewebauthn/server');
  const own = (await authenticatorsNow(ctx, name)).filter(known => known.rpId === rpId);
  if (own.length === 0) throw new NusecError('STATE', `${name} has registered no authenticator at ${rpId}`);
  const allowCredentials = own.map(({ credentialId }) => ({ id: credentialId }));
  return generateAuthenticationOptions({ rpID: rpId, challenge, allowCredentials, timeout: confirmationMs, userVerification: 'preferred' });
}

/** Verifies a confirmation and records it. @param requestSha256 of what is confirmed @throws NusecError CONFIRMATION_REFUSED */
export async function useAuthenticator(
  ctx: Context,
  name: string,
  { answer, challenge, place, requestSha256 }: { answer: BrowserAnswer; challenge: Challenge; place: ConsolePlace; requestSha256: string },
  by: Actor,
): Promise<void> {
  const known = (await authenticatorsNow(ctx, name)).find(({ credentialId }) => credentialId === answer.id);
  if (known === undefined) throw new NusecError('CONFIRMATION_REFUSED', 'this authenticator is not registered, or no longer');
  const { verifyAuthenticationResponse } = await import('@simplewebauthn/server');
  const { authenticationInfo } = await verified(() =>
    verifyAuthenticationResponse({
      response: answer as never,
      expectedChallenge: toBase64url(challenge),
      expectedOrigin: place.origin,
      expectedRPID: known.rpId,
      requireUserVerification: false,
      credential: { id: known.credentialId, publicKey: new Uint8Array(fromBase64url(known.publicKey)), counter: known.signCount },
    }),
  );
  const use = { name, id: known.id, signCount: authenticationInfo?.newCounter ?? 0, requestSha256 };
  await execute(ctx, operators, operatorsStream, { type: 'UseOperatorAuthenticator', ...use }, by);
}

/** The library says what is wrong by throwing. */
async function verified<Result extends { readonly verified: boolean }>(work: () => Promise<Result>): Promise<Result> {
  try {
    const result = await work();
    if (result.verified) return result;
  } catch (error) {
    throw new NusecError('CONFIRMATION_REFUSED', `the authenticator's answer is refused: ${(error as Error).message.slice(0, 200)}`);
  }
  throw new NusecError('CONFIRMATION_REFUSED', 'the signature of the authenticator does not verify');
}
