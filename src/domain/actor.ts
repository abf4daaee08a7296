/** Who did something, as events carry it: `operator:{name}`, `programmer:{uid}`, `device:{uid}`, `gateway:{id}` or `system:{part}`. */
export type Actor = string;

/** A time as RFC 3339 in UTC with milliseconds, such as `2026-01-31T08:00:00.000Z`: such texts compare as the times do. */
export type IsoTime = string;
