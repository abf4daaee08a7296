import { expect, it, vi } from 'vitest';
import type { Station } from '../../src/cli/station.ts';
import { openView } from '../../src/cli/stationView.ts';

it('in lines of text each step says of which target it is: several work at the same time', () => {
  const written: string[] = [];
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(text => written.push(String(text)) > 0);
  try {
    const targets = ['left', 'right'].map(name => ({ name, serial: 'localhost:1', debug: 'localhost:2' }));
    const view = openView({ programmer: 'localhost:3', targets } as unknown as Station, false);
    for (const target of ['right', 'left']) view.show({ type: 'step', target, entry: { k: 2, name: 'reserve', state: 'done', text: '' } });
    view.close();
  } finally {
    write.mockRestore();
  }
  expect(written).toEqual(['right:  2  done     reserve\n', 'left:  2  done     reserve\n']);
});
