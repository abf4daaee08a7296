/** What people are for. An administrator may do everything that one person may do. */

export const roles = [
  'administrator',
  'securityOfficer',
  'productionPlanner',
  'releaseManager',
  'lineOperator',
  'auditor',
  'service',
] as const;
export type Role = (typeof roles)[number];

/** Their holders release, approve or confirm what others have proposed. */
const approvingRoles: readonly Role[] = ['administrator', 'securityOfficer', 'productionPlanner', 'releaseManager'];

/** Whether two administrators decide about somebody with these roles: they begin what others approve, or approve it. */
export const needsTwo = (held: readonly Role[]): boolean => held.some(role => approvingRoles.includes(role));

/** A service account is a program: with other roles it begins what they begin; it approves nothing and has no console. */
export const isService = (held: readonly Role[]): boolean => held.includes('service');

/** Those who read what belongs to lines, jobs and sites. A line operator sees jobs only, a service account alone the figures of the server. */
export const readers: readonly Role[] = roles.filter(role => role !== 'lineOperator' && role !== 'service');

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

/** What is within both. */
export function bothScopes(one: Scope | undefined, other: Scope | undefined): Scope | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const common = (kind: keyof Scope) => {
    const [mine, yours] = [one[kind], other[kind]];
    const names = mine === undefined ? yours : mine.filter(name => yours?.includes(name) ?? true);
    return names === undefined ? {} : { [kind]: names };
  };
  return { ...common('lines'), ...common('jobs'), ...common('sites') };
}

const contains = (limits: readonly string[] | undefined, name: string | undefined): boolean =>
  limits === undefined || (name !== undefined && limits.includes(name));

/** `lines meter, gauge; sites Example CM`; empty without a scope, `nothing` for one that contains nothing. */
export const scopeText = (scope: { readonly [Name in keyof Scope]?: Scope[Name] | undefined } = {}): string =>
  Object.entries(scope)
    .flatMap(([name, values]) => (values === undefined ? [] : `${name} ${values.length === 0 ? 'nothing' : values.join(', ')}`))
    .join('; ');
