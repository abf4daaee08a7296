import { describe, expect, it } from 'vitest';
import { commands, events, hasDecider, hasProducer, hasReader, isFieldUsed, markedToCome } from './deeds.ts';
import { commandsToCome, eventsToCome, exportsToCome, fieldsToCome, oldEvents } from './wordsToCome.ts';

/** No word without a deed. What is still to come stands in wordsToCome.ts. */

const names = (list: Readonly<Record<string, string>>): readonly string[] => Object.keys(list).toSorted();

describe('every word has its deed', () => {
  it('the domain has commands and events', () => {
    expect(commands).toContain('MintDevice');
    expect(events).toContain('DeviceMinted');
    expect(commands.length).toBeGreaterThan(100);
    expect(events.length).toBeGreaterThan(100);
  });

  it('every command has a producer outside tests and the domain', () => {
    expect(commands.filter(command => !hasProducer(command))).toEqual(names(commandsToCome));
  });

  it('every event has a decider that emits it, or a service where there is nothing to decide', () => {
    expect(events.filter(event => !hasDecider(event))).toEqual(names(oldEvents));
  });

  it('every event has a fold, a read model or a subscriber that knows it', () => {
    expect(events.filter(event => !hasReader(event))).toEqual(names(eventsToCome));
  });

  it('a field to come is neither set nor read, else it leaves the list', () => {
    expect(names(fieldsToCome).filter(isFieldUsed)).toEqual([]);
  });

  // Whether anything else is exported for tests alone, `knip --production` says; it is part of the check.
  it('every export that is marked as to come is in the list', () => {
    expect(markedToCome).toEqual(names(exportsToCome));
  });
});
