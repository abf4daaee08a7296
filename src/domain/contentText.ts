/** One text for equal contents, for approvals and comparisons: fields in the order of their names, at every depth, as the log keeps them. A process
 *  that has decided an event holds its fields in the order of the code, one that has read it in the order of the log.
 *  @param content JSON values; fields that are undefined are left out */
export const contentText = (content: unknown): string =>
  JSON.stringify(content, (_name, value) => (isRecord(value) ? sorted(value) : value));

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

const sorted = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
