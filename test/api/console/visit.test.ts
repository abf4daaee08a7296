import { OpenAPIHono } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { expect, it } from 'vitest';
import type { ApiEnv } from '../../../src/api/auth.ts';
import { actionPage } from '../../../src/api/console/actions.ts';
import { actions } from '../../../src/api/console/pages.ts';
import { visitOf } from '../../../src/api/console/visit.ts';
import type { Person } from '../../../src/api/sessions.ts';
import { covers } from '../../support/covers.ts';

const person: Person = {
  kind: 'operator',
  name: 'paul',
  roles: ['productionPlanner'],
  isNamed: false,
  tokenSha256: '',
  until: '2030-01-01T00:00:00.000Z',
};

it('shows and approves the content of one moment: what changes while the page is made is not approved unseen ', async () => {
  covers('I16');
  let asked = 0;
  const api = new OpenAPIHono<ApiEnv>();
  api.get('/v1/jobs/job-1/allotments/one/thaw-proposals', c => {
    asked += 1;
    return c.json({ proposals: [{ id: 'p', by: 'operator:pat', reason: `reason ${asked}`, contentSha256: `content ${asked}` }] });
  });
  const pages = new Hono<ApiEnv>().get('/page', async c => {
    const visit = visitOf(api, c, person, false);
    const action = actions['approve-thaw'];
    return c.html(action === undefined ? '' : (await actionPage(visit, action, ['job-1', 'one'])).content);
  });
  const page = await (await pages.request('/page')).text();
  expect(page).toContain('reason 1');
  expect(page).toContain('value="content 1"');
  expect(asked).toBe(1);
});
