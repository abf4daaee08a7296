import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { exchange } from '../support/http.ts';
import { startTestServer } from '../support/server.ts';

/** Traces, as a collector of OpenTelemetry gets them (OTLP over HTTP, JSON). */

type Value = { readonly stringValue?: string; readonly intValue?: number };
type SentSpan = {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly status?: { readonly code?: number };
  readonly attributes: readonly { readonly key: string; readonly value: Value }[];
};
type Sent = {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly { readonly key: string; readonly value: Value }[] };
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
};

async function startCollector() {
  const spans: SentSpan[] = [];
  const services = new Set<string | undefined>();
  const paths = new Set<string | undefined>();
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      paths.add(request.url);
      const { resourceSpans } = JSON.parse(Buffer.concat(chunks).toString()) as Sent;
      for (const { resource, scopeSpans } of resourceSpans) {
        services.add(resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue);
        spans.push(...scopeSpans.flatMap(scope => scope.spans));
      }
      response.setHeader('Content-Type', 'application/json').end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { spans, services, paths, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
}

it('a request goes on with the trace that it came with, and its span reaches the collector', async () => {
  const collector = await startCollector();
  const server = await startTestServer(undefined, undefined, { otlpEndpoint: collector.endpoint });
  const [traceId, parentSpanId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
  const ask = (path: string, flags: string) =>
    exchange(`${server.url}${path}`, {
      ca: server.rootPem,
      headers: { Authorization: `Bearer ${server.alice}`, traceparent: `00-${traceId}-${parentSpanId}-${flags}` },
    });
  const { headers } = await ask('/v1/devices/00112233445566778899aabbccddeeff', '01');
  // Whoever began this trace does not keep it.
  await ask('/v1/gateways', '00');
  await server.close();
  collector.close();

  const ours = collector.spans.filter(span => span.traceId === traceId);
  expect(ours).toHaveLength(1);
  const [span] = ours;
  expect(span).toMatchObject({ parentSpanId, name: 'GET /v1/devices/:uid', kind: 2 });
  expect(headers.traceparent).toBe(`00-${traceId}-${span?.spanId}-01`);
  const attributes = Object.fromEntries(span?.attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]) ?? []);
  expect(attributes).toMatchObject({ 'http.route': '/v1/devices/:uid', 'http.response.status_code': 404, 'error.type': 'NOT_FOUND' });
  expect([...collector.services, ...collector.paths]).toEqual(['nusec', '/v1/traces']);
});
