/** What people are for. An administrator may do everything that one person may do. */

export const roles = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager', 'lineOperator', 'auditor'] as const;
export type Role = (typeof roles)[number];

/** Their holders release, approve or confirm what others have proposed. */
const approvingRoles: readonly Role[] = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager'];

export const mayApprove = (held: readonly Role[]): boolean => held.some(role => approvingRoles.includes(role));

/** Those who read what belongs to lines, jobs and sites. A line operator sees jobs only. */
export const readers: readonly Role[] = roles.filter(role => role !== 'lineOperator');

/** What a person may see and do is limited to these; a list that is not there limits nothing. A site is the name of a manufacturer, as
 *  programmers are shipped to it. */
export type Scope = { readonly lines?: readonly string[]; readonly jobs?: readonly string[]; readonly sites?: readonly string[] };

/** A scope that contains nothing. */
export const emptyScope: Scope = { lines: [], jobs: [], sites: [] };

/** Where something belongs. */
export type Place = { readonly line?: string | undefined; readonly jobId?: string | undefined; readonly site?: string | undefined };

/** What belongs to no line is within no scope that names lines; the same for jobs and sites. */
export function isInScope({ lines, jobs, sites }: Scope, { line, jobId, site }: Place): boolean {
  return contains(lines, line) && contains(jobs, jobId) && contains(sites, site);
}

/** The lines whose releases and rollouts are within a scope; undefined for all. They belong to no job and no site. */
export const linesWithin = ({ lines, jobs, sites }: Scope): readonly string[] | undefined =>
  jobs === undefined && sites === undefined ? lines : [];

const contains = (limits: readonly string[] | undefined, name: string | undefined): boolean =>
  limits === undefined || (name !== undefined && limits.includes(name));
