import { Command } from 'commander';
import { reportError } from '../../../src/cli/output.ts';
import { registerPackage } from '../../../src/cli/package.ts';
import { registerProduce } from '../../../src/cli/produce.ts';
import { registerProgrammer } from '../../../src/cli/programmer.ts';

/** The commands that run at the contract manufacturer, without the server's: what is started here loads nothing of it. */
const program = new Command('nusec').exitOverride();
for (const register of [registerProgrammer, registerPackage, registerProduce]) register(program);
await program.parseAsync().catch(error => {
  process.exitCode = reportError(error, process.argv.includes('--json'));
});
