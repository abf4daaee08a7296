/** Software components of a firmware image as its bill of materials (SBOM) names them, and the component versions that a vulnerability affects. */

export type Component = {
  /** Without namespace, as the SBOM spells it; compared without regard to case. */
  readonly name: string;
  readonly version?: string;
  /** Package URL (ECMA-427). */
  readonly purl?: string;
};

/** Versions from `introduced` (all older ones too when absent) up to, without, `fixed`, or up to and with `lastAffected`. */
export type VersionRange = { readonly introduced?: string; readonly fixed?: string; readonly lastAffected?: string };

/** A component and which of its versions are affected: all of them when neither versions nor ranges are named. */
export type AffectedComponent = {
  readonly name: string;
  readonly purl?: string;
  readonly versions: readonly string[];
  readonly ranges: readonly VersionRange[];
};
