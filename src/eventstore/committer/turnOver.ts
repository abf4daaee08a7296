/** What was asked under a turn that is over (sharedQueue.ts); nothing of it is stored. */
export class TurnOver extends Error {}
