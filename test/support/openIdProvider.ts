import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';

/** A real OpenID provider on loopback. Whoever types a name at its own sign-in page is that `sub`; the groups are those of the map. */
export async function startProvider(groups: ReadonlyMap<string, readonly string[]>, redirectUri: () => string) {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
  const client = { client_id: 'nusec', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], response_types: ['code'] };
  const open = () => {
    const provider = new Provider(issuer, {
      clients: [{ ...client, redirect_uris: [redirectUri()] }],
      claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'] },
      conformIdTokenClaims: false,
      pkce: { required: () => true },
      findAccount: (_: unknown, id: string) => ({
        accountId: id,
        claims: () => ({ sub: id, preferred_username: `${id.split('-')[0]}@example.com`, groups: groups.get(id) ?? [] }),
      }),
    });
    server.on('request', provider.callback());
  };
  return { issuer, open, close: () => new Promise<void>(resolve => server.close(() => resolve()).closeAllConnections()) };
}
