import { startDouble } from './double.ts';

/** Serves the double from a process of its own: prints its address, ends with its parent or on SIGTERM. */
const double = await startDouble();
process.on('disconnect', () => process.exit());
process.on('SIGTERM', () => process.exit());
if (process.send === undefined) console.log(double.url);
else process.send(double.url);
