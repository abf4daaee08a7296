import { toHex } from '../../bytes.ts';
import { pooledRandom } from '../../random.ts';

/** What a trace consists of: spans with a name, a time and a cause (W3C Trace Context). Without a collector nothing is kept, and requests have ids all
 *  the same. */

export type Attributes = Readonly<Record<string, string | number | undefined>>;
export type Span = {
  /** 32 hex. */
  readonly traceId: string;
  /** The header for whatever this span asks for, and for the answer. */
  readonly traceparent: string;
  /** @param failure what went wrong; its text is for people, and has no secret */
  end(name: string, attributes: Attributes, failure?: string): void;
};
export type Spans = {
  /** @param parent the header `traceparent` as it came; anything else begins a trace of its own */
  begin(kind: 'server' | 'client', parent?: string): Span;
  close(): Promise<void>;
};

export type TraceParent = { readonly traceId: string; readonly spanId: string; readonly flags: number };

const zeros = /^0+$/;
const sampled = 1;

/** @returns undefined for a header that does not follow the standard */
export function parseTraceparent(header: string | undefined): TraceParent | undefined {
  const [, version = 'ff', traceId = '', spanId = '', flags = ''] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(header ?? '') ?? [];
  return version === 'ff' || zeros.test(traceId) || zeros.test(spanId) ? undefined : { traceId, spanId, flags: Number.parseInt(flags, 16) };
}

export const traceparentOf = ({ traceId, spanId, flags }: TraceParent): string =>
  `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`;

const random = pooledRandom();

export const noSpans: Spans = {
  begin(_kind, parent) {
    const traceId = parseTraceparent(parent)?.traceId ?? toHex(random(16));
    const traceparent = traceparentOf({ traceId, spanId: toHex(random(8)), flags: sampled });
    return { traceId, traceparent, end: () => undefined };
  },
  close: async () => undefined,
};
