import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { openStationSocket } from '../../src/cli/stationOutlets.ts';

it('a station ends although a handler keeps its side of the socket open; the last line is delivered', async () => {
  const station = await openStationSocket(0);
  const handler = connect({ port: station.port, host: '127.0.0.1', allowHalfOpen: true });
  onTestFinished(() => void handler.destroy());
  handler.write('{"start":"left"}\n');
  await station.started('left', new AbortController().signal);
  let heard = '';
  handler.on('data', chunk => {
    heard += chunk.toString();
  });
  station.send({ target: 'left', outcome: 'OK' });
  await Promise.all([once(handler, 'end'), station.close()]);
  expect(heard).toBe('{"target":"left","outcome":"OK"}\n');
});
