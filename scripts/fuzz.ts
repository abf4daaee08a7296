import { parseArgs } from 'node:util';
import { fuzz, targetNames } from '../test/fuzz/engine.ts';
import { fuzzPackets } from '../test/fuzz/mqttPackets.ts';

/** `npm run fuzz -- NAME --seconds N [--seed S]`: runs test/fuzz/NAME.ts on mutations of its corpus; the first failing input is printed as hex.
 *  `npm run fuzz -- mqtt [--packets N] [--seed S]`: sends packets to the broker over TLS, a million when not given. */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    packets: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() >>> 0) },
  },
});
const [name] = positionals;

if (name === 'mqtt') {
  const { packets, connections } = await fuzzPackets(Number(values.packets), Number(values.seed));
  console.log(`mqtt: ${packets} packets over ${connections} connections, seed ${values.seed}`);
} else if (name === undefined || !targetNames.includes(name)) {
  console.error(`usage: npm run fuzz -- NAME --seconds N [--seed S]\nNAME: ${targetNames.join(', ')}, mqtt`);
  process.exitCode = 2;
} else {
  const { runs, failure } = await fuzz(name, Number(values.seconds), Number(values.seed));
  console.log(`${name}: ${runs} inputs, seed ${values.seed}`);
  if (failure) {
    console.error(`input ${failure.inputHex}`, failure.error);
    process.exitCode = 1;
  }
}
