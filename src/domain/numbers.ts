/** Numbers that others remember: of revocation lists, trust bundles, production packages and upgrade jobs. A machine that has seen one refuses a lower one,
 *  or takes it for an older thing. */

/** The next number is above the one before, and not below the time: so it is also above all that were given by a store that was lost and replaced
 *  by an older backup. The clock alone would not do: it can be set back.
 *  @param before the newest number in the store, if any
 *  @param time of now, in the unit in which the number keeps up with time: no more than one number a unit over the long run */
export const nextNumber = (before: number | undefined, time: number): number => Math.max((before ?? 0) + 1, time);
