import { readSettings } from '../config.ts';
import type { CaUse } from '../domain/authorityEvents.ts';
import type { KnownCeremony } from '../domain/ceremonies.ts';
import { ceremoniesStream } from '../domain/ceremonies.ts';
import { requireOtherPerson } from '../domain/rules.ts';
import type { Curve } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import { approveCeremony, type CeremonyWish, proposeCeremony } from '../services/administration/ceremonies.ts';
import { authenticateOperator } from '../services/administration/operators.ts';
import { createAlarms } from '../services/base/alarms.ts';
import type { Context } from '../services/base/context.ts';
import { openContext } from '../services/dataFolder/open.ts';
import { readText } from './client.ts';

/** Ceremonies on the server's own machine, straight on the data folder: for a server that nobody can reach any more, because the issuing CA of its
 *  certificate has ended. Two administrators give their tokens. A server that runs takes up the result. */

export type OfflineRoll = {
  readonly data: string;
  readonly use: CaUse;
  readonly line?: string;
  readonly curve?: Curve;
  readonly tokenFile: string;
  readonly secondTokenFile: string;
};

/** Makes the next generation of an issuing CA and activates it.
 *  @returns both ceremonies @throws NusecError UNAUTHENTICATED, FORBIDDEN (no administrator), FOUR_EYES_REQUIRED, and as the ceremonies */
export async function rollOffline({ data, use, line, curve, ...tokens }: OfflineRoll): Promise<readonly KnownCeremony[]> {
  const settings = readSettings(data);
  const opened = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort });
  try {
    const { ctx } = opened;
    const first = await administratorOf(ctx, tokens.tokenFile);
    const second = await administratorOf(ctx, tokens.secondTokenFile);
    requireOtherPerson(first, second, 'a ceremony');
    const wish = { type: 'establishIssuingCa', use, line, curve } as const;
    const made = await hold(ctx, wish, first, second);
    const { icaId } = made.action as { readonly icaId: string };
    return [made, await hold(ctx, { type: 'activateIssuingCa', icaId }, first, second)];
  } finally {
    await opened.close();
  }
}

async function administratorOf(ctx: Context, tokenFile: string): Promise<string> {
  const { name, roles } = await authenticateOperator(ctx, readText(tokenFile, 'token file').trim());
  if (!roles.includes('administrator')) throw new NusecError('FORBIDDEN', `${name} is no administrator`);
  return name;
}

async function hold(ctx: Context, wish: CeremonyWish, first: string, second: string): Promise<KnownCeremony> {
  const { id } = await proposeCeremony(ctx, wish, `operator:${first}`);
  const condition = earlierApprover(ctx, second, ['administrator'], proposalIn(ceremoniesStream(ctx.project), 'CeremonyProposed', id));
  return approveCeremony(ctx, createAlarms(ctx), id, `operator:${second}`, { condition });
}
