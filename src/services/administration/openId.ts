import type { Configuration } from 'openid-client';
import type { Identity } from '../../domain/operatorsState.ts';
import { type Role, roles } from '../../domain/roles.ts';
import { NusecError } from '../../errors.ts';
import { readSecretFile } from '../../keystore/secretFile.ts';

/** OpenID Connect: the authorization code flow with PKCE, state and nonce, at one issuer. What a browser keeps between its two requests is
 *  sealed by the caller. The library is loaded when a provider is configured and somebody signs in. */

export type OpenIdSettings = {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecretFile?: string | undefined;
  readonly scope: string;
  readonly groupsClaim: string;
  /** Group → roles of its members. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
};
/** Between the two requests of one sign-in. */
export type Flow = { readonly state: string; readonly nonce: string; readonly verifier: string };
/** Who came back from the provider. */
export type Arrival = { readonly identity: Identity; readonly wantedName: string; readonly mapped: readonly Role[] };

export type OpenId = {
  readonly issuer: string;
  /** @throws NusecError SIGN_IN_FAILED when the provider does not answer */
  begin(redirectUri: string): Promise<{ readonly url: string; readonly flow: Flow }>;
  /** @param url to which the provider has sent the browser @throws NusecError SIGN_IN_FAILED */
  finish(flow: Flow, url: string): Promise<Arrival>;
};

const maxWantedChars = 40;

/** @throws NusecError BAD_REQUEST when a group is to have a role that there is not */
export function createOpenId(settings: OpenIdSettings): OpenId {
  const unknown = Object.values(settings.groups)
    .flat()
    .find(name => !roles.some(role => role === name));
  if (unknown !== undefined) throw new NusecError('BAD_REQUEST', `setting openId.groups: there is no role ${unknown}`);
  const { issuer, clientId, clientSecretFile, scope, groupsClaim, groups } = settings;
  let found: Promise<Configuration> | undefined;
  /** What the provider publishes about itself; its issuer has to be the configured one. Asked again after a failure. */
  const discover = async (): Promise<Configuration> => {
    const { allowInsecureRequests, discovery, ClientSecretPost, None } = await import('openid-client');
    const authentication = clientSecretFile === undefined ? None() : ClientSecretPost(secretIn(clientSecretFile));
    // Settings take plain HTTP on loopback only.
    const more = issuer.startsWith('http:') ? { execute: [allowInsecureRequests] } : {};
    return discovery(new URL(issuer), clientId, undefined, authentication, more);
  };
  const configuration = (): Promise<Configuration> => {
    found ??= discover().catch(error => {
      found = undefined;
      throw error;
    });
    return found;
  };
  const asked = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof NusecError) throw cause;
      throw new NusecError('SIGN_IN_FAILED', 'the sign-in did not succeed: begin again', { cause });
    }
  };
  return {
    issuer,
    begin: redirectUri =>
      asked(async () => {
        const client = await import('openid-client');
        const [config, verifier, state, nonce] = [
          await configuration(),
          client.randomPKCECodeVerifier(),
          client.randomState(),
          client.randomNonce(),
        ];
        const url = client.buildAuthorizationUrl(config, {
          redirect_uri: redirectUri,
          scope,
          state,
          nonce,
          code_challenge: await client.calculatePKCECodeChallenge(verifier),
          code_challenge_method: 'S256',
        });
        return { url: url.href, flow: { state, nonce, verifier } };
      }),
    finish: ({ state, nonce, verifier }, url) =>
      asked(async () => {
        const client = await import('openid-client');
        const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
        const claims = (await client.authorizationCodeGrant(await configuration(), new URL(url), checks)).claims();
        if (claims === undefined || claims.iss !== issuer) throw new NusecError('SIGN_IN_FAILED', 'the answer is not that of the issuer');
        const held = [claims[groupsClaim]].flat().filter(group => typeof group === 'string');
        const mapped = new Set(held.flatMap(group => (Object.hasOwn(groups, group) ? (groups[group] ?? []) : [])));
        return {
          identity: { issuer: claims.iss, subject: claims.sub },
          wantedName: nameFrom(claims.preferred_username),
          mapped: roles.filter(role => mapped.has(role)),
        };
      }),
  };
}

const maxSecretBytes = 1024;

/** @throws NusecError KEYSTORE_PERMISSIONS (others can read it), NOT_FOUND */
function secretIn(file: string): string {
  const bytes = readSecretFile(file, maxSecretBytes);
  if (bytes === undefined) throw new NusecError('NOT_FOUND', `the file with the client secret, ${file}, does not exist`);
  return new TextDecoder().decode(bytes).trim();
}

/** A name of ours from what the provider calls somebody. */
function nameFrom(wanted: unknown): string {
  const plain = (typeof wanted === 'string' ? wanted : '')
    .toLowerCase()
    .replace(/@.*$/, '')
    .replaceAll(/[^a-z0-9._-]/g, '-');
  return plain.replace(/^[^a-z]+/, '').slice(0, maxWantedChars) || 'person';
}
