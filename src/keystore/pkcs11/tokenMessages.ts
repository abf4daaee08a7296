import type { TokenApi, TokenFailure } from './tokenApi.ts';

/** What the server (tokenClient.ts) and the token process (tokenProcess.ts) send each other. */

/** The first message to the process. */
export type OpenToken = { readonly module: string; readonly label: string; readonly pinFile: string; readonly sessions: number };
/** Every later message is a list of these. */
export type TokenRequest = { readonly number: number; readonly name: keyof TokenApi; readonly args: readonly unknown[] };
export type TokenAnswer = { readonly number: number } & ({ readonly value: unknown } | { readonly failure: TokenFailure });

/** Number of the answer to `OpenToken`; requests count from 1. */
export const openNumber = 0;
