import { openPkcs11Keystore } from '../../src/keystore/pkcs11.ts';

/** A server process with an open token, to be killed. It says `open` on stdout. */
const [module = '', label = '', pinFile = '', lock = ''] = process.argv.slice(2);
await openPkcs11Keystore({ module, label, pinFile, lock });
process.stdout.write('open\n');
setInterval(() => {}, 1000);
