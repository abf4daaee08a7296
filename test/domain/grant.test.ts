import { describe, expect, it } from 'vitest';
import { fold } from '../../src/domain/decider.ts';
import { type GrantCommand, type GrantEvent, grant } from '../../src/domain/grant.ts';

const facts = { jobId: 'j', programmer: 'p', uid: 'u', objId: 'o', grantSha256: 'first' };
const signed: GrantEvent = { type: 'GrantSigned', data: facts };
const trailer = { image: 'bl2', imageHash: 'hash', trailerSha256: 'first' } as const;
const decide = (events: readonly GrantEvent[], command: GrantCommand) => grant.decide(command, fold(grant, events));

describe('a grant', () => {
  it('is signed once: a second signature does not count (silence 2)', () => {
    expect(decide([], { type: 'RecordGrant', ...facts })).toEqual([signed]);
    expect(decide([signed], { type: 'RecordGrant', ...facts, grantSha256: 'second' })).toEqual([]);
    const state = fold(grant, [signed, { type: 'GrantSigned', data: { ...facts, grantSha256: 'second' } }]);
    expect(state).toMatchObject({ status: 'SIGNED', grantSha256: 'first' });
  });

  it('remembers one trailer per image', () => {
    const made: GrantEvent = { type: 'ImageSigned', data: trailer };
    expect(decide([signed], { type: 'RecordTrailer', ...trailer })).toEqual([made]);
    expect(decide([signed, made], { type: 'RecordTrailer', ...trailer, trailerSha256: 'second' })).toEqual([]);
    expect(decide([signed, made], { type: 'RecordTrailer', ...trailer, image: 'app' })).toHaveLength(1);
  });

  it('that was never signed has no images', () => {
    expect(() => decide([], { type: 'RecordTrailer', ...trailer })).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    expect(fold(grant, [{ type: 'ImageSigned', data: trailer }])).toEqual({ status: 'NONE' });
  });
});
