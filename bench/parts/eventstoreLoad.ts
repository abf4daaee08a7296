import { createIdSource } from '../../src/eventstore/ids.ts';
import type { EventStore, EventToAppend } from '../../src/eventstore/port.ts';
import { perSecond } from './measure.ts';

/** The load of the event-store bench: writers that append one event after the other to random streams. */

export type Load = { readonly writers: number; readonly durationMs: number; readonly devices: number };

const newId = createIdSource();

export const certified = (): EventToAppend => ({
  type: 'DeviceCertified',
  id: newId(),
  at: '2026-01-02T03:04:05.678Z',
  by: 'programmer:00112233445566778899aabbccddeeff',
  data: { serial: 'ab'.repeat(16), notAfter: '2046-01-02T03:04:05.678Z', certificate: 'cd'.repeat(32) },
});

export async function appendFor(
  store: EventStore,
  { writers, durationMs, devices }: Load,
): Promise<{ readonly rate: number; readonly latenciesMs: readonly number[] }> {
  const start = performance.now();
  const latenciesMs: number[] = [];
  const write = async () => {
    for (let begun = start; begun - start < durationMs; ) {
      await store.append(`device-${Math.floor(Math.random() * devices)}`, 'any', [certified()]);
      const ended = performance.now();
      latenciesMs.push(ended - begun);
      begun = ended;
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  return { rate: perSecond(latenciesMs.length, start), latenciesMs };
}
