import { type ErrorCode, NusecError } from '../../errors.ts';

const maxAttempts = 5;

/** Does again, from the newest state on, what is refused because another process or request was faster.
 *  @param code of that refusal  @throws what `work` throws; after five attempts that refusal too */
export async function retriedOn<Result>(code: ErrorCode, work: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === maxAttempts || !(error instanceof NusecError && error.code === code)) throw error;
    }
  }
}
