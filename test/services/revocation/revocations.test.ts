import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { gateway, gatewayStream } from '../../../src/domain/gateway.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { execute } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { type RevocationChange, startRevocations } from '../../../src/services/revocation/revocations.ts';
import { covers } from '../../support/covers.ts';
import { newParty } from '../parties.ts';
import { openProject, type Project, requestOf } from '../project.ts';

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

const by = 'operator:alice';

describe('what is revoked', () => {
  it('is known to everybody who follows the event store, and after a restart (R86)', async () => {
    covers('R86');
    const other = await startRevocations(project.ctx);
    onTestFinished(() => other.close());
    const unit = await project.newDevice();
    // On a slow machine the log is faster than the read models, and it is told twice.
    const told = new Promise<RevocationChange>(resolve => other.onChange(change => change.list && resolve(change)));
    await project.revoke(unit);
    expect(await told).toMatchObject({
      serialHex: unit.parsed.serialHex,
      subject: unit.uid,
      kind: 'device',
      list: { icaId: 'device-meter-1', crlPartition: 0 },
      revoked: true,
    });
    const later = await startRevocations(project.ctx);
    onTestFinished(() => later.close());
    expect(later.isRevoked(unit.parsed.serialHex)).toBe(true);
  });

  it('is all told when one event ends more certificates than are read at once', async () => {
    const { ctx, revocations } = project;
    const command = (wish: Parameters<typeof gateway.decide>[0]) => execute(ctx, gateway, gatewayStream('gw'), wish, by);
    await registerGateway(ctx, 'gw', 'gw', by);
    const first = await certifyGateway(ctx, 'gw', requestOf(newParty(), { commonName: 'gw' }), by);
    const { serialHex, notAfter } = parseCertificate(first.certificate);
    const serials = Array.from({ length: 1500 }, (_, i) => `42${i.toString(16).padStart(30, '0')}`);
    // As a gateway could have before it had a quota.
    const certified = serials.map(serial => ({
      id: ctx.newId(),
      type: 'GatewayCertified',
      at: new Date().toISOString(),
      by: 'system:test',
      data: { serial, certificateSha256: 'x', publicKeySha256: serial, icaId: 'gateway-1', notAfter },
    }));
    for (let at = 0; at < certified.length; at += 500) await ctx.store.append(gatewayStream('gw'), 'exists', certified.slice(at, at + 500));
    await command({ type: 'SuspendGateway', reason: 'test', by });
    await revocations.caughtUp(await ctx.store.head());
    expect([serialHex, ...serials].filter(serial => !revocations.isRevoked(serial))).toEqual([]);
    await command({ type: 'ResumeGateway', by });
    await revocations.caughtUp(await ctx.store.head());
    expect([serialHex, ...serials].filter(serial => revocations.isRevoked(serial))).toEqual([]);
  });
});
