import type { Command } from 'commander';
import { portNumber, wholeNumber } from './options.ts';
import type { ProduceOptions } from './produceUnits.ts';

/** `nusec produce`: starts production on the programmer and shows how it goes (R70, R108). All checks and all keys are in the programmer. */
export function registerProduce(program: Command): void {
  program
    .command('produce')
    .description('produce units: the programmer provisions the targets on its wires')
    .option('--programmer <host:port>', 'serial link of the programmer (or the path of a UART)')
    .option('--target-serial <host:port>', 'serial link of the target, as the programmer reaches it')
    .option('--target-debug <address>', 'debug port of the target, as the programmer reaches it: host:port, or openocd:host:port')
    .option('--targets <serial,debug...>', 'up to 16 targets at the same time, instead of one')
    .option('--station <file>', 'all of this from a JSON file, for a line that nobody attends')
    .option('--job <id>', 'which job, when the chip could belong to several')
    .option('--count <n>', 'units in all; after each one the next chip is waited for (default: 1)', wholeNumber(1, 0xffff_ffff))
    .option('--listen <port>', 'JSON lines for a handler or MES on this TCP port of loopback', portNumber)
    .option('--webhook <url>', 'post the result of each unit there')
    .option('--json', 'print JSON lines instead of text')
    .addHelpText(
      'after',
      `
Exit status 0: everything that was asked for is committed. Otherwise 1 and a stable code, such as COUNT_EXHAUSTED or UID_NOT_LISTED. A server that
is away or in trouble, and a job that is suspended, are waited for. A unit that is not finished is kept: put its chip back and run the same command,
or go on with another chip; nusec package status lists it.

With --count, --targets or --station each target goes on to its next chip by itself: one that was not there before, or was taken off in between.
A chip that fails does not stop the others; its line has a bin: pass, hold (it comes back), retry (nothing was burned), scrap, reject.

A station file: {"programmer": "localhost:7101", "targets": [{"name": "left", "serial": "localhost:7001", "debug": "localhost:7002"}],
"job"?, "count"? (default: until the count is used up), "start"?: "chip" or "command", "listen"?, "webhook"?}. With "start": "command" a unit begins
when the handler writes {"start": "left"} to the socket.

Examples:
  $ nusec produce --programmer localhost:7101 --target-serial localhost:7001 --target-debug localhost:7002
  $ nusec produce --programmer /dev/ttyACM0 --target-serial /dev/ttyUSB0 --target-debug openocd:localhost:6666 --count 50 --json
  $ nusec produce --programmer localhost:7101 --targets localhost:7001,localhost:7002 localhost:7003,localhost:7004 --count 100
  $ nusec produce --station line-3.json --json`,
    )
    .action(async (options: ProduceOptions) => (await import('./produceUnits.ts')).produce(options));
}
