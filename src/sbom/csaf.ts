import { z } from 'zod';
import type { AffectedComponent, VersionRange } from '../domain/component.ts';
import { readPurl } from './purl.ts';
import type { VulnerabilityNote } from './vulnerabilityNote.ts';

/** CSAF 2.0: the products of the product tree that a vulnerability is known to affect. A product is named by its package URL, else by the branches that
 *  lead to it (product_name, product_version, product_version_range with a `vers` specifier). */

const helperSchema = z.looseObject({ purl: z.string().optional() }).optional();
const productSchema = z.looseObject({ name: z.string(), product_id: z.string(), product_identification_helper: helperSchema });
type Product = z.infer<typeof productSchema>;
type Branch = {
  readonly category: string;
  readonly name: string;
  readonly product?: Product | undefined;
  readonly branches?: readonly Branch[] | undefined;
};
const branchSchema: z.ZodType<Branch> = z.looseObject({
  category: z.string(),
  name: z.string(),
  product: productSchema.optional(),
  get branches() {
    return z.array(branchSchema).optional();
  },
});
const vulnerabilitySchema = z.looseObject({
  cve: z.string().optional(),
  title: z.string().optional(),
  product_status: z
    .looseObject({
      known_affected: z.array(z.string()).optional(),
      first_affected: z.array(z.string()).optional(),
      last_affected: z.array(z.string()).optional(),
      under_investigation: z.array(z.string()).optional(),
    })
    .optional(),
});
const noteSchema = z.looseObject({
  document: z.looseObject({
    csaf_version: z.literal('2.0'),
    title: z.string().min(1),
    tracking: z.looseObject({ id: z.string().min(1).max(100) }),
  }),
  product_tree: z.looseObject({ branches: z.array(branchSchema).optional(), full_product_names: z.array(productSchema).optional() }),
  vulnerabilities: z.array(vulnerabilitySchema).min(1),
});

export function readCsaf(value: object, refuse: (why: string) => never): VulnerabilityNote {
  const { success, data, error } = noteSchema.safeParse(value);
  if (!success) return refuse(`${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message}`);
  const { document, product_tree, vulnerabilities } = data;
  const products = new Map<string, AffectedComponent>();
  for (const product of product_tree.full_product_names ?? []) products.set(product.product_id, componentOf(product, {}));
  for (const branch of product_tree.branches ?? []) walk(branch, {}, products);
  const ids = new Set(
    vulnerabilities.flatMap(({ product_status: status = {} }) => [
      ...(status.known_affected ?? []),
      ...(status.first_affected ?? []),
      ...(status.last_affected ?? []),
    ]),
  );
  const affected = [...ids].map(id => products.get(id) ?? refuse(`the product ${id} is not in the product tree`));
  const cves = vulnerabilities.flatMap(({ cve }) => (cve === undefined ? [] : [cve]));
  const id = cves.length === 1 ? (cves[0] as string) : document.tracking.id;
  const aliases = [document.tracking.id, ...cves].filter(name => name !== id);
  return { format: 'csaf', id, aliases, title: document.title, affected };
}

/** What the branches above a product say about it. */
type Path = { readonly name?: string; readonly version?: string; readonly range?: string };

function walk({ category, name, product, branches = [] }: Branch, above: Path, products: Map<string, AffectedComponent>): void {
  const path: Path = {
    ...above,
    ...(category === 'product_name' && { name }),
    ...(category === 'product_version' && { version: name }),
    ...(category === 'product_version_range' && { range: name }),
  };
  if (product !== undefined) products.set(product.product_id, componentOf(product, path));
  for (const branch of branches) walk(branch, path, products);
}

function componentOf(product: Product, { name, version, range }: Path): AffectedComponent {
  const purl = product.product_identification_helper?.purl;
  const known = purl === undefined ? undefined : readPurl(purl);
  const own = version ?? (range === undefined ? known?.version : undefined);
  return {
    name: known?.name ?? name ?? product.name,
    ...(purl !== undefined && known !== undefined && { purl }),
    ...(range === undefined ? { versions: own === undefined ? [] : [own], ranges: [] } : rangeOf(range)),
  };
}

/** `vers:generic/>=3.0.0|<3.0.7|3.1.0`, or the constraints alone. What cannot be read affects every version. */
function rangeOf(text: string): Pick<AffectedComponent, 'versions' | 'ranges'> {
  const versions: string[] = [];
  const ranges: VersionRange[] = [];
  let open: VersionRange | undefined;
  for (const constraint of text.replace(/^vers:[a-z0-9.+-]+\//, '').split('|')) {
    const [, comparator = '', version = ''] = /^\s*(>=|<=|!=|>|<|=)?\s*(.*?)\s*$/.exec(constraint) ?? [];
    if (version === '*' || version === '') return { versions: [], ranges: [] };
    if (comparator === '' || comparator === '=') versions.push(version);
    if (comparator.startsWith('>')) open = { introduced: version };
    if (comparator.startsWith('<')) {
      ranges.push({ ...open, ...(comparator === '<' ? { fixed: version } : { lastAffected: version }) });
      open = undefined;
    }
  }
  return { versions, ranges: open === undefined ? ranges : [...ranges, open] };
}
