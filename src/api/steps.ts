import { createRoute, type z } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import type { ApiEnv } from './auth.ts';
import { jsonAnswer, jsonBody } from './fields.ts';

/** Describes the steps of a process that a machine walks through: one POST for each, under one path.
 *  @param path with its parameters, such as `/v1/repairs/{uid}`  @param middleware says who may take the steps */
export function stepsOf<Path extends string, Params extends z.ZodObject, Middleware extends MiddlewareHandler<ApiEnv>>(
  path: Path,
  params: Params,
  middleware: Middleware,
) {
  return <Name extends string, Body extends z.ZodType, Answer extends z.ZodType>(name: Name, summary: string, body: Body, answer: Answer) =>
    createRoute({
      method: 'post',
      path: `${path}/${name}` as `${Path}/${Name}`,
      summary,
      middleware,
      request: { params, ...jsonBody(body) },
      responses: { 200: jsonAnswer(answer, 'done') },
    });
}
