import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Services } from '../services/start/services.ts';
import type { ApiEnv, Auth } from './auth.ts';

export type Api = OpenAPIHono<ApiEnv>;
/** What a resource file exports: it adds its routes. */
export type Resource = (api: Api, services: Services, auth: Auth) => void;

/** The caller's name as events carry it. */
export function actor(c: Context<ApiEnv>): string {
  const { person, machine } = c.var as Partial<ApiEnv['Variables']>;
  return person !== undefined ? `operator:${person.name}` : `${machine?.kind}:${machine?.id}`;
}
