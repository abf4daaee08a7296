import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSettings } from '../config.ts';
import type { Curve } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { createSecretFile } from '../keystore/secretFile.ts';
import { toPem } from '../pki/pem.ts';
import { initialiseProject } from '../services/administration/initialise.ts';
import { makeRecoveryCodes } from '../services/administration/recoveryCodes.ts';
import { authorityOf, rootDer } from '../services/authority/authority.ts';
import { makeStandingKeys } from '../services/backup/markedStore.ts';
import { createAlarms } from '../services/base/alarms.ts';
import { openContext } from '../services/dataFolder/open.ts';
import { print, record, styled } from './output.ts';

export type InitOptions = {
  data: string;
  organization: string;
  administrator: string;
  second: string;
  curve: Curve;
  icaCurve?: Curve;
  json?: boolean;
};

/** Makes a project in a data folder, and says what people need of it. */
export async function initialise(options: InitOptions): Promise<void> {
  if (options.administrator === options.second)
    throw new NusecError('FOUR_EYES_REQUIRED', `${options.second} cannot be both administrators; name another person with --second`);
  const settings = readSettings(options.data);
  const opened = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort }, true);
  try {
    const { organization, administrator, second, curve, icaCurve, data } = options;
    const result = await initialiseProject(opened.ctx, {
      organization,
      administrators: [administrator, second],
      curve,
      ...(icaCurve && { icaCurve }),
    });
    await makeStandingKeys(opened.ctx);
    const recoveryCodes = await makeRecoveryCodes({ ctx: opened.ctx, alarms: createAlarms(opened.ctx) }, false);
    const rootFile = join(data, 'root.pem');
    writeFileSync(rootFile, toPem('CERTIFICATE', rootDer(await authorityOf(opened.ctx))));
    const tokens = result.tokens.map(({ name, token }) => {
      const file = join(data, `${name}.token`);
      createSecretFile(file, new TextEncoder().encode(token));
      return { name, tokenFile: file };
    });
    const text = [
      record({
        'root certificate': rootFile,
        'root SHA-256': result.rootSha256,
        ...Object.fromEntries(tokens.map(t => [`token of ${t.name}`, t.tokenFile])),
      }),
      '',
      `recovery codes, shown this once; give each to another person (two of them help when administrators have no token any more):`,
      ...recoveryCodes.map(code => `  ${code}`),
      '',
      `Next: ${styled('bold', `nusec server --data ${data}`)}`,
    ].join('\n');
    print(options, { rootSha256: result.rootSha256, rootFile, tokens, recoveryCodes }, text);
  } finally {
    await opened.close();
  }
}
