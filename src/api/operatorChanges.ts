import { createRoute, z } from '@hono/zod-openapi';
import { operatorsStream } from '../domain/operators.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import { approveOperatorChange, listOperatorChanges, withdrawOperatorChange } from '../services/administration/operatorChanges.ts';
import { idField, jsonAnswer, jsonBody, sha256Field } from './fields.ts';
import { changeSchema, changeView } from './operators.ts';
import { actor, type Resource } from './resource.ts';

/** Changes among the people who may approve, as they wait for the second administrator (I16). */

const params = z.object({ id: idField });

export const operatorChangesResource: Resource = (api, { ctx, alarms }, auth) => {
  const parts = { ctx, alarms };
  const administrator = auth.person('administrator');
  const list = createRoute({
    method: 'get',
    path: '/v1/operator-changes',
    summary: 'Proposed and executed changes of people, newest first',
    middleware: auth.person('auditor'),
    responses: { 200: jsonAnswer(z.object({ changes: z.array(changeSchema).readonly() }), 'changes') },
  });
  const approve = createRoute({
    method: 'post',
    path: '/v1/operator-changes/{id}/approve',
    summary: 'Approves what another administrator has proposed, and carries it out',
    middleware: administrator,
    request: { params, ...jsonBody(z.strictObject({ tokenSha256: sha256Field.optional(), contentSha256: sha256Field.optional() })) },
    responses: { 200: jsonAnswer(changeSchema, 'done') },
  });
  const withdraw = createRoute({
    method: 'post',
    path: '/v1/operator-changes/{id}/withdraw',
    summary: 'Withdraws a proposal, or objects to a recovery',
    middleware: administrator,
    request: { params },
    responses: { 200: jsonAnswer(changeSchema, 'withdrawn') },
  });
  api.openapi(list, async c => c.json({ changes: (await listOperatorChanges(ctx)).map(changeView) }, 200));
  api.openapi(approve, async c => {
    const { id } = c.req.valid('param');
    const proposal = proposalIn(operatorsStream, 'OperatorChangeProposed', id);
    const approver = earlierApprover(ctx, c.var.person.name, ['administrator'], proposal);
    const { tokenSha256, contentSha256 } = c.req.valid('json');
    return c.json(
      changeView(await approveOperatorChange(parts, id, actor(c), tokenSha256, { condition: approver, seenSha256: contentSha256 })),
      200,
    );
  });
  api.openapi(withdraw, async c => c.json(changeView(await withdrawOperatorChange(parts, c.req.valid('param').id, actor(c))), 200));
};
