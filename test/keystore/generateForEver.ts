import { openSoftwareKeystore } from '../../src/keystore/software.ts';
import { cheapCost, passphrase } from './secrets.ts';

/** A process that changes its keystore as fast as it can, to be killed. It says on stdout `+id` once a key is acknowledged,
 *  `?id` before it destroys one (which may then be there or not) and `-id` once that is acknowledged. */
const [file = '', run = ''] = process.argv.slice(2);
const keystore = await openSoftwareKeystore({ file, unlock: { passphrase }, create: true, argon2Cost: cheapCost });

const say = (what: string) => process.stdout.write(`${what}\n`);

async function worker(name: string): Promise<void> {
  for (let index = 0; ; index += 1) {
    const id = `${run}/${name}/${index}`;
    await keystore.generate(id, index % 2 === 0 ? 'P-256' : 'AES-256');
    say(`+${id}`);
    if (index % 5 !== 4) continue;
    say(`?${id}`);
    await keystore.destroy(id);
    say(`-${id}`);
  }
}

await Promise.all(['a', 'b', 'c', 'd'].map(worker));
