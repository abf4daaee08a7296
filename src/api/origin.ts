import type { Context } from 'hono';
import type { ApiEnv } from './auth.ts';
import type { Origin } from './sessions.ts';

const maxAgentChars = 200;

/** The address of a request and what the browser or program calls itself. */
export const originOf = (c: Context<ApiEnv>): Origin => ({
  address: c.env.incoming?.socket?.remoteAddress,
  agent: c.req.header('User-Agent')?.slice(0, maxAgentChars),
});
