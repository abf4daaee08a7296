import type { TLSSocket } from 'node:tls';
import type { Context as HonoContext } from 'hono';
import { isBase64 } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { maxCsrBytes } from '../pki/csr.ts';
import { csrAttributes } from '../pki/csrAttributes.ts';
import { buildCertsOnly } from '../pki/pkcs7.ts';
import { authenticateOperator } from '../services/administration/operators.ts';
import { watchKey } from '../services/base/alarms.ts';
import { caCertificates, type EstLabel, enrol, estLabels, reenrol } from '../services/identity/est.ts';
import type { Services } from '../services/start/services.ts';
import type { ApiEnv } from './auth.ts';
import { secondOfficer } from './gatewayKeys.ts';
import type { Resource } from './resource.ts';
import { wrongTokensOf } from './wrongTokens.ts';

/** EST (RFC 7030) under `/.well-known/est/` and `/.well-known/est/{label}/`: base64 of DER both ways, as its clients send and expect it. */

const root = '/.well-known/est';
const maxBase64Characters = Math.ceil((maxCsrBytes * 4) / 3) + 128;
type Call = HonoContext<ApiEnv>;

export const estResource: Resource = (api, services, auth) => {
  const { ctx, alarms } = services;
  api.on('GET', pathsOf('cacerts'), async c => {
    labelOf(c);
    return encoded(c, 'application/pkcs7-mime', await caCertificates(ctx));
  });
  api.on('GET', pathsOf('csrattrs'), c => {
    labelOf(c);
    return encoded(c, 'application/csrattrs', csrAttributes);
  });
  api.on('POST', pathsOf('serverkeygen'), c => {
    labelOf(c);
    throw new NusecError('KEYGEN_REFUSED', 'a private key never leaves where it was made: make one and send a request to simpleenroll');
  });
  api.on('POST', pathsOf('fullcmc'), () => {
    throw new NusecError('NOT_OFFERED', 'of EST there are cacerts, csrattrs, simpleenroll and simplereenroll');
  });
  api.on('POST', pathsOf('simpleenroll'), async c => {
    const label = labelOf(c);
    const caller = (await machineOf(services, c)) ?? { person: await personOf(services, c) };
    const csr = await requestOf(c);
    const subject = 'person' in caller ? `operator-${caller.person}` : `${caller.kind}-${caller.id}`;
    const second =
      'person' in caller
        ? (gatewayId: string) => secondOfficer(ctx, caller.person, gatewayId, () => auth.confirm(c, caller.person))
        : undefined;
    return certificate(c, await watchKey(alarms, subject, () => enrol(ctx, label, csr, caller, second)));
  });
  api.on('POST', pathsOf('simplereenroll'), async c => {
    const label = labelOf(c);
    const machine = await machineOf(services, c);
    if (machine === undefined) throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', 'a renewal is asked for with the present certificate');
    const csr = await requestOf(c);
    return certificate(c, await watchKey(alarms, `${machine.kind}-${machine.id}`, () => reenrol(ctx, label, csr, machine)));
  });
};

/** With a label and without one (RFC 7030 §3.2.2). */
const pathsOf = (operation: string): string[] => [`${root}/${operation}`, `${root}/:label/${operation}`];

function labelOf(c: Call): EstLabel | undefined {
  const named = c.req.param('label');
  if (named === undefined) return undefined;
  const label = estLabels.find(known => known === named);
  if (label === undefined) throw new NusecError('NOT_FOUND', `EST labels are ${estLabels.join(', ')}`);
  return label;
}

/** The machine behind the client certificate, undefined without one. @throws NusecError CHAIN_REFUSED, CERTIFICATE_REVOKED … */
async function machineOf({ trust, certificateUse }: Services, c: Call) {
  const peer = (c.env.incoming.socket as TLSSocket).getPeerX509Certificate?.();
  const machine = peer && (await trust.identify(new Uint8Array(peer.raw)));
  if (machine) certificateUse.used(machine);
  return machine;
}

/** HTTP authentication of EST (RFC 7030 §3.2.3): Basic with name and token of an operator, or the token as Bearer.
 *  @throws NusecError UNAUTHENTICATED, TOKEN_EXPIRED, FORBIDDEN */
async function personOf(services: Services, c: Call): Promise<string> {
  const [, scheme, value = ''] = /^(Basic|Bearer) +([A-Za-z0-9+/=_-]{1,400})$/i.exec(c.req.header('Authorization') ?? '') ?? [];
  if (scheme === undefined)
    throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', 'enrolment needs a client certificate or the token of an operator');
  const [name, token = ''] = scheme.toLowerCase() === 'basic' ? credentialsOf(value) : [undefined, value];
  const person = await wrongTokensOf(services).watch(c.env.incoming.socket.remoteAddress, async () => {
    const found = await authenticateOperator(services.ctx, token);
    if (name !== undefined && name !== found.name) throw new NusecError('UNAUTHENTICATED', 'the token belongs to somebody else');
    return found;
  });
  if (!person.roles.some(role => role === 'administrator' || role === 'securityOfficer'))
    throw new NusecError('FORBIDDEN', `${person.name} needs the role securityOfficer`);
  if (person.scope !== undefined)
    throw new NusecError('FORBIDDEN', `${person.name} is limited to a scope, and gateways are for all of them`);
  return person.name;
}

/** Of HTTP Basic (RFC 7617 §2): name and token. @throws NusecError UNAUTHENTICATED */
function credentialsOf(base64: string): readonly string[] {
  if (!isBase64(base64)) throw new NusecError('UNAUTHENTICATED', 'the credentials of Basic are not base64');
  return Buffer.from(base64, 'base64').toString().split(/:(.*)/s);
}

/** PKCS#10 as base64, line breaks allowed. @throws NusecError MEDIA_TYPE, CSR_TOO_LARGE, CSR_MALFORMED */
async function requestOf(c: Call): Promise<Uint8Array> {
  if (!/^application\/pkcs10\s*(;|$)/i.test(c.req.header('Content-Type') ?? 'application/pkcs10'))
    throw new NusecError('MEDIA_TYPE', 'a request is application/pkcs10');
  const text = (await c.req.text()).replace(/\s+/g, '');
  if (text.length > maxBase64Characters) throw new NusecError('CSR_TOO_LARGE', `a request has at most ${maxCsrBytes} bytes`);
  if (text === '' || !isBase64(text)) throw new NusecError('CSR_MALFORMED', 'the body is not PKCS#10 in base64');
  return new Uint8Array(Buffer.from(text, 'base64'));
}

const certificate = (c: Call, der: Uint8Array) => encoded(c, 'application/pkcs7-mime; smime-type=certs-only', buildCertsOnly([der]));

function encoded(c: Call, type: string, der: Uint8Array): Response {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,76}/g) ?? [];
  return c.body(`${lines.join('\r\n')}\r\n`, 200, { 'Content-Type': type, 'Content-Transfer-Encoding': 'base64' });
}
