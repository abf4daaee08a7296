import { InvalidArgumentError } from 'commander';
import { openIdentities } from './spdm/identities.ts';
import { openLink } from './spdm/link.ts';
import { faultText, wholeNumber } from './spdm/names.ts';
import { spdmCommand } from './spdm/options.ts';
import { disorderIn, type RequesterOptions, runSteps, stepNames } from './spdm/requesterSteps.ts';

/** `npm run spdm:requester -- …`: our SPDM requester over the socket framing of other SPDM tools (docs/spdm-interoperability.md).
 *  One JSON line for each step; exit code 1 when one fails. */

const defaultCapabilities =
  'CERT,CHAL,ENCRYPT,MAC,MUT_AUTH,KEY_EX,PSK,ENCAP,HBEAT,KEY_UPD,HANDSHAKE_IN_CLEAR,CHUNK,MULTI_KEY_NEG,LARGE_RESP';

const options = spdmCommand('spdm:requester', 'SPDM requester for interoperability tests', defaultCapabilities)
  .option('--steps <list>', `what is done, in this order: ${stepNames.join(', ')}`, stepsOf, ['ATTEST'])
  .option('--slot <number>', 'certificate slot of the responder', wholeNumber, 0)
  .option('--portion-bytes <number>', 'asked for in one GET_CERTIFICATE', wholeNumber, 1024)
  .option('--known-key', 'the responder has no certificates: its key is that of --certificates', false)
  .option('--hint <text>', 'hint of the pre-shared key, without its zero byte', 'TestPskHint')
  .parse()
  .opts<RequesterOptions>();

function stepsOf(text: string): readonly string[] {
  const names = text.split(',');
  const unknown = names.find(name => !stepNames.some(known => known === name));
  if (unknown !== undefined) throw new InvalidArgumentError(`"${unknown}" is none of ${stepNames.join(', ')}`);
  const disorder = disorderIn(names);
  if (disorder !== undefined) throw new InvalidArgumentError(disorder);
  return names;
}

let close: () => Promise<void> = async () => {};
try {
  const identities = await openIdentities(options, 'requester');
  const opened = await openLink(options);
  close = opened.close;
  await runSteps(options, identities, opened.link, result => void process.stdout.write(`${JSON.stringify(result)}\n`));
} catch (error) {
  process.stderr.write(`${faultText(error)}\n`);
  process.exitCode = 1;
}
await close().catch(() => {});
process.exit();
