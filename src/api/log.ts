import { createRoute, z } from '@hono/zod-openapi';
import type { LogFilter } from '../evidence/logExport.ts';
import { logPage, storedFilter } from '../services/proof/logEntries.ts';
import { logCertificates, logVerifierKey } from '../services/proof/logKey.ts';
import { requirePlace } from './events.ts';
import { isEventType, jsonAnswer, maxPageRows, wholeNumber } from './fields.ts';
import type { Resource } from './resource.ts';

/** The log as auditors follow and export it: checkpoints on demand, events with their proofs, consistency of two trees. */

const size = wholeNumber(0);
const maxPatterns = 64;
/** One parameter may be given several times. */
const patternsOf = (one: z.ZodString) =>
  z
    .union([one, z.array(one).max(maxPatterns)])
    .transform(given => (typeof given === 'string' ? [given] : given))
    .optional();
const pattern = z.string().max(256);
const patterns = patternsOf(pattern);

/** Which events are meant: each a text, or its beginning with a * behind it. */
export const filters = { type: patternsOf(pattern.superRefine(isEventType)), stream: patterns, by: patterns };
type Patterns = { readonly [Name in keyof typeof filters]?: string[] | undefined };
export const filterOf = ({ type, stream, by }: Patterns): LogFilter => ({
  ...(type && { types: type }),
  ...(stream && { streams: stream }),
  ...(by && { by }),
});

const certificates = z.array(z.string());
const hashes = z.array(z.string());
const entry = z.record(z.string(), z.any()).openapi('LogEntry');
const text = (description: string) => ({ 200: { description, content: { 'text/plain': { schema: z.string() } } } });

export const logResource: Resource = (api, { ctx, newestCheckpoint }, auth) => {
  const auditor = auth.person('auditor');
  const get = <Responses extends Parameters<typeof createRoute>[0]['responses'], Query extends z.ZodObject>(
    path: string,
    summary: string,
    query: Query,
    responses: Responses,
  ) => createRoute({ method: 'get', path, summary, middleware: auditor, request: { query }, responses });

  const checkpoint = get(
    '/v1/log/checkpoint',
    'A signed checkpoint (C2SP tlog-checkpoint) over every event that was stored before the call',
    z.strictObject({}),
    text('signed note'),
  );
  api.openapi(checkpoint, async c => c.text(await newestCheckpoint.covering(await ctx.store.head()), 200));

  const key = get(
    '/v1/log/key',
    'Name of the log and its key, as a witness is configured with them (signed-note verifier key, type 2)',
    z.strictObject({}),
    { 200: jsonAnswer(z.object({ origin: z.string(), verifierKey: z.string() }), 'name+id+key') },
  );
  api.openapi(key, async c => c.json(await logVerifierKey(ctx), 200));

  const start = get(
    '/v1/log/export',
    'What an export begins and ends with: a fresh checkpoint, certificates of the key, and the subtrees in front of the first event',
    z.strictObject({ after: size.default(0), ...filters }),
    {
      200: jsonAnswer(
        z.object({ checkpoint: z.string(), logCertificates: certificates, peaks: hashes, filter: z.any() }),
        'base64, hex; the filter as the log has it, with pseudonyms',
      ),
    },
  );
  api.openapi(start, async c => {
    const { after, ...wanted } = c.req.valid('query');
    const head = await requirePlace(ctx, after);
    const logged = (await logCertificates(ctx)).map(der => Buffer.from(der).toString('base64'));
    const note = await newestCheckpoint.covering(head);
    const filter = storedFilter(ctx.subjects, filterOf(wanted));
    return c.json({ checkpoint: note, logCertificates: logged, peaks: [...(await ctx.store.tree.peaks(after))], filter }, 200);
  });

  const entries = get(
    '/v1/log/entries',
    'Events after a position that fit a filter, with the hash before each in its stream; with `provenIn` also their paths in the tree of that size. `readable`: with names and texts of people in place of what is hashed',
    z.strictObject({
      after: size.default(0),
      upTo: size.optional(),
      limit: wholeNumber(1, maxPageRows).default(100),
      provenIn: size.optional(),
      readable: z.stringbool().default(false),
      ...filters,
    }),
    { 200: jsonAnswer(z.object({ entries: z.array(entry), next: z.number(), head: z.number() }), 'the next page begins after `next`') },
  );
  api.openapi(entries, async c => {
    const { after, upTo, limit, provenIn, readable, ...wanted } = c.req.valid('query');
    const head = await requirePlace(ctx, after);
    const wish = { after, upTo: Math.min(upTo ?? head, provenIn ?? head), limit, filter: filterOf(wanted), readable };
    const page = await logPage(ctx, { ...wish, ...(provenIn !== undefined && { provenIn }) });
    return c.json({ entries: [...page.entries], next: page.next, head }, 200);
  });

  const consistency = get(
    '/v1/log/consistency',
    'Proof that the tree of the second size begins with the whole tree of the first one (RFC 9162), for keepers of checkpoints',
    z.strictObject({ first: size, second: size }),
    { 200: jsonAnswer(z.object({ first: z.string(), second: z.string(), proof: hashes }), 'both roots and the proof, hex') },
  );
  api.openapi(consistency, async c => {
    const { first, second } = c.req.valid('query');
    const proof = [...(await ctx.store.tree.consistency(first, second))];
    return c.json({ first: await ctx.store.tree.root(first), second: await ctx.store.tree.root(second), proof }, 200);
  });
};
