/** What people are for. An administrator may do everything that one person may do. */

export const roles = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager', 'lineOperator', 'auditor'] as const;
export type Role = (typeof roles)[number];

/** Their holders release, approve or confirm what others have proposed. */
const approvingRoles: readonly Role[] = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager'];

export const mayApprove = (held: readonly Role[]): boolean => held.some(role => approvingRoles.includes(role));

/** What a person may see and do is limited to these; a list that is not there limits nothing. */
export type Scope = { readonly lines?: readonly string[]; readonly jobs?: readonly string[]; readonly sites?: readonly string[] };

/** Whether a job is within a scope. Jobs name no site yet, so nothing is within a scope of sites. */
export function isJobInScope({ lines, jobs, sites }: Scope, job: { readonly jobId: string; readonly line: string }): boolean {
  return (lines?.includes(job.line) ?? true) && (jobs?.includes(job.jobId) ?? true) && sites === undefined;
}
