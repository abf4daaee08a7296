import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { definedOf } from '../../defined.ts';
import { parseTraceparent, type Spans, traceparentOf } from '../base/spans.ts';

/** Spans that go to a collector, by OTLP over HTTP. Loaded only where one is configured. */

/** Spans wait for so long, and so many at most; what comes beyond is dropped. */
const sendEveryMs = 1000;
const maxWaiting = 4096;
const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT } as const;

/** @param endpoint of the collector, such as http://localhost:4318; `OTEL_EXPORTER_OTLP_HEADERS` has what it wants to know */
export function openTelemetry(endpoint: string, project: string): Spans {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/$/, '')}/v1/traces` });
  const processor = new BatchSpanProcessor({ exporter, scheduledDelayMillis: sendEveryMs, maxQueueSize: maxWaiting });
  const resource = resourceFromAttributes({
    'service.name': 'nusec',
    'service.namespace': project,
    'service.instance.id': `${process.pid}`,
  });
  const provider = new TracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer('nusec');
  return {
    begin(kind, header) {
      const parent = parseTraceparent(header);
      const { traceId, spanId, flags: traceFlags = 0 } = parent ?? {};
      const context =
        traceId === undefined || spanId === undefined
          ? ROOT_CONTEXT
          : trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
      const span = tracer.startSpan(kind, { kind: kinds[kind] }, context);
      const own = span.spanContext();
      return {
        traceId: own.traceId,
        traceparent: traceparentOf({ traceId: own.traceId, spanId: own.spanId, flags: own.traceFlags }),
        end(name, attributes, failure) {
          span.updateName(name);
          span.setAttributes(definedOf(attributes));
          if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
          span.end();
        },
      };
    },
    close: () => provider.shutdown(),
  };
}
