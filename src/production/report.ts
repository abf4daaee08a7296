import { verify } from 'node:crypto';
import { fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../bytes.ts';
import { publicKeyOf } from '../cose/publicKey.ts';
import { type KeyResolver, sign1, verifySign1 } from '../cose/sign1.ts';
import { coordinateBytes, rawToDer } from '../ecdsa.ts';
import { NusecError } from '../errors.ts';
import type { Signer } from './signed.ts';

/** The reconciliation report of a job: JSON text, signed by a key for reports. */

const reportType = 'application/nusec-job-report+json';

/** `signed`: COSE_Sign1 over the UTF-8 bytes of `report`, base64url. Reports from before that have `signature` instead: ES256 (r ‖ s, base64url)
 *  over the same bytes. `kid` is that of the key, hex. */
export type SignedReport = {
  readonly report: string;
  readonly kid: string;
  readonly signed?: string | undefined;
  readonly signature?: string | undefined;
};

export async function signReport(report: string, { kid, sign, curve = 'P-256' }: Signer): Promise<SignedReport> {
  const signed = await sign1({ kid, curve, type: reportType, payload: utf8(report) }, sign);
  return { report, kid: toHex(kid), signed: toBase64url(signed) };
}

/** @param reportKeys those of the trust bundle that sign reports @returns the text that was signed
 *  @throws NusecError COSE_MALFORMED (also another type), COSE_SIGNATURE (also a key of another use) */
export async function verifyReport({ report, kid, signed, signature }: SignedReport, reportKeys: KeyResolver): Promise<string> {
  if (signed === undefined) return verifyUntyped(report, kid, signature ?? '', reportKeys);
  const { payload } = await verifySign1(fromBase64url(signed), { resolveKey: reportKeys, expectedType: reportType });
  const text = new TextDecoder().decode(payload);
  if (text !== report) throw new NusecError('COSE_SIGNATURE', 'another report was signed');
  return text;
}

async function verifyUntyped(report: string, kid: string, signature: string, reportKeys: KeyResolver): Promise<string> {
  const known = await reportKeys(fromHex(kid));
  const raw = fromBase64url(signature);
  const isRaw = raw.length === 2 * coordinateBytes['P-256'];
  if (!known || !isRaw || !verify('sha256', utf8(report), publicKeyOf(known).key, rawToDer(raw)))
    throw new NusecError('COSE_SIGNATURE', 'the signature is not valid');
  return report;
}
