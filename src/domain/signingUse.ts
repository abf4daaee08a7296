/** What the project's signing keys are for. Each use has keys of its own: a signature that was made for one use is refused for every other.
 *  Certificates, CRLs and trust bundles are signed by authorities (authorityEvents.ts), never by one of these keys. */

export const signingUses = ['package', 'grant', 'order', 'otaJob', 'report'] as const;
export type SigningUse = (typeof signingUses)[number];

const folders = { package: 'package', grant: 'grant', order: 'order', otaJob: 'ota-job', report: 'report' } as const satisfies Record<
  SigningUse,
  string
>;

/** Id of a signing key in the keystore, such as `ota-job/2`. @param generation 1, 2, 3 … */
export const signingKeyId = (use: SigningUse, generation: number): string => `${folders[use]}/${generation}`;

export const signingKeyPattern = new RegExp(`^(?:${Object.values(folders).join('|')})/[1-9]\\d{0,5}$`);

/** @param keyId as signingKeyId makes it */
export const generationOf = (keyId: string): number => Number(keyId.split('/').at(-1));
