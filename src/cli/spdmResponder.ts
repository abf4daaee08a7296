import { Option } from 'commander';
import { openIdentities } from './spdm/identities.ts';
import { faultText, wholeNumber } from './spdm/names.ts';
import { spdmCommand } from './spdm/options.ts';
import { type ResponderOptions, serveResponder } from './spdm/responderServer.ts';

/** `npm run spdm:responder -- …`: our SPDM responder behind the socket framing of other SPDM tools (docs/spdm-interoperability.md). */

const defaultCapabilities =
  'CACHE,CERT,CHAL,MEAS_SIG,MEAS_FRESH,ENCRYPT,MAC,MUT_AUTH,KEY_EX,PSK_WITH_CONTEXT,ENCAP,HBEAT,KEY_UPD,HANDSHAKE_IN_CLEAR,CHUNK,SET_CERT,CSR';

const options = spdmCommand('spdm:responder', 'SPDM responder for interoperability tests', defaultCapabilities)
  .option('--measurements <number>', 'how many image measurements there are', wholeNumber, 4)
  .addOption(
    new Option('--mut-auth <how>', 'how the requester is asked who it is').choices(['none', 'encapsulated', 'digests']).default('none'),
  )
  .option('--basic-mut-auth', 'with --mut-auth: a requester of 1.1 also proves itself after CHALLENGE_AUTH', false)
  .option('--heartbeat-seconds <number>', 'HeartbeatPeriod', wholeNumber, 0)
  .option('--stay', 'keep listening after a SHUTDOWN', false)
  .parse()
  .opts<ResponderOptions>();

try {
  const identities = await openIdentities(options, 'responder');
  serveResponder(options, identities, event => void (options.quiet || process.stderr.write(`${event}\n`)));
} catch (error) {
  process.stderr.write(`${faultText(error)}\n`);
  process.exitCode = 1;
}
