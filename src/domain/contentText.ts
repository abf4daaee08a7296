/** One text for equal contents, for approvals and comparisons: fields in the order of their names, at every depth, as the log keeps them. What a
 *  person asks for comes in another order, and so do fields that a fold has put together.
 *  @param content JSON values; fields that are undefined are left out */
export const contentText = (content: unknown): string =>
  JSON.stringify(content, (_name, value) => (isRecord(value) ? sorted(value) : value));

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

const sorted = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
