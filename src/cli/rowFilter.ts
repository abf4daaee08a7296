import { InvalidArgumentError } from 'commander';
import { NusecError } from '../errors.ts';

/** `--filter` of lists: which rows are shown, by their fields. */

export type RowFilter = { readonly field: string; readonly fits: (row: unknown) => boolean };

/** `status=ACTIVE`, `status!=ACTIVE`, `name~hall`: a field of the row is, is not, or contains. */
export function rowFilter(text: string, before: readonly RowFilter[] = []): readonly RowFilter[] {
  const [, field = '', how, wanted = ''] = /^([A-Za-z]\w*)(=|!=|~)(.*)$/.exec(text) ?? [];
  if (how === undefined) throw new InvalidArgumentError('It takes field=value, field!=value or field~text.');
  const fits = (row: unknown): boolean => {
    const value = (row as Record<string, unknown>)[field];
    const found = typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value ?? '');
    return how === '~' ? found.includes(wanted) : (found === wanted) === (how === '=');
  };
  return [...before, { field, fits }];
}

type Schema = { readonly $ref?: string; readonly properties?: Readonly<Record<string, Schema>>; readonly items?: Schema };
type Content = { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> };
type Description = {
  readonly paths: Readonly<Record<string, { readonly get?: { readonly responses: Readonly<Record<string, Content>> } }>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
};

/** Rows that fit every filter. A field that no row has may be one that rows have at times: then the server's description of the list says which there are.
 *  @param path of the list, without its query @param key where the rows are in an answer @param describe fetches `/openapi.json`
 *  @throws NusecError BAD_REQUEST when there is no such field */
export async function fittingRows<Row>(
  rows: readonly Row[],
  filters: readonly RowFilter[],
  { path, key, describe }: { readonly path: string; readonly key: string; readonly describe: () => Promise<Description> },
): Promise<readonly Row[]> {
  const strange = filters.find(({ field }) => !rows.some(row => Object.hasOwn(row as object, field)));
  if (strange !== undefined) {
    const fields =
      fieldsOf(await describe(), path, key) ??
      (rows.length > 0 ? [...new Set(rows.flatMap(row => Object.keys(row as object)))] : undefined);
    if (fields !== undefined && !fields.includes(strange.field))
      throw new NusecError('BAD_REQUEST', `there is no field ${strange.field} in this list: it has ${fields.join(', ')}`);
  }
  return rows.filter(row => filters.every(({ fits }) => fits(row)));
}

function fieldsOf({ paths, components }: Description, path: string, key: string): readonly string[] | undefined {
  const resolved = (schema: Schema | undefined): Schema | undefined =>
    schema?.$ref === undefined ? schema : components.schemas[schema.$ref.split('/').at(-1) ?? ''];
  const isIt = (template: string): boolean => new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path);
  const [, list] = Object.entries(paths).find(([template]) => isIt(template)) ?? [];
  const answer = resolved(list?.get?.responses['200']?.content?.['application/json']?.schema);
  const row = resolved(resolved(answer?.properties?.[key])?.items);
  return row?.properties && Object.keys(row.properties);
}
