import { expect, it } from 'vitest';
import type { Recorded } from '../../src/eventstore/recorded.ts';
import { on, subjectOf } from '../../src/projections/projection.ts';

const at = { id: 'i', at: '2026-01-01T00:00:00.000Z', by: 'operator:a', v: 1, stream: 'gateway-g-1', revision: 0, position: 1, hash: 'h' };
const registered: Recorded<'GatewayRegistered'> = { ...at, type: 'GatewayRegistered', data: { gatewayId: 'g-1', name: 'n', by: 'a' } };

it('projects an event by the function of its type and ignores all others', () => {
  const seen: string[] = [];
  const write = on({ GatewayRegistered: ({ stream, data }) => seen.push(`${subjectOf(stream)} ${data.name}`) });
  write(registered);
  write({ ...registered, type: 'toString' } as unknown as Recorded);
  write({ ...at, type: 'GatewayResumed', data: { by: 'a' } });
  expect(seen).toEqual(['g-1 n']);
});

it('does not compile with an event or a field that does not exist', () => {
  // @ts-expect-error no event has this type
  on({ GatewayRenamed: () => undefined });
  // @ts-expect-error the event has no such field
  on({ GatewayRegistered: ({ data }) => data.title });
  const write = ({ type }: Recorded) =>
    // @ts-expect-error no event has this type
    type === 'GatewayRenamed';
  expect(write(registered)).toBe(false);
});
