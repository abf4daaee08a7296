import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { parse } from 'yaml';
import { exchange } from '../support/http.ts';
import { pollMs } from '../support/limits.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** What Prometheus scrapes, and what people have built on it. */

const root = new URL('../../', import.meta.url).pathname;
let server: TestServer;
let text = '';
const ask = (path: string, token: string, body?: object) =>
  exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    headers: { Authorization: `Bearer ${token}`, ...(body && { 'Content-Type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
const namesIn = (figures: string): ReadonlySet<string> => new Set([...figures.matchAll(/^# TYPE (\w+) /gm)].map(([, name = '']) => name));

beforeAll(async () => {
  server = await startTestServer();
  const { json } = await ask('/v1/operators', server.alice, { name: 'prometheus', roles: ['service'] });
  await ask('/v1/devices/00112233445566778899aabbccddeeff', server.alice);
  await ask('/nothing', server.alice);
  const isComplete = async (): Promise<boolean> => {
    text = (await ask('/metrics', json.token as string)).text;
    return /^nusec_checkpoint_age_seconds \d/m.test(text);
  };
  await vi.waitUntil(isComplete, { timeout: pollMs, interval: 200 });
});
afterAll(() => server?.close());

describe('the figures', () => {
  it('are read by a service account, and by nobody without a token', async () => {
    expect((await exchange(`${server.url}/metrics`, { ca: server.rootPem })).json.code).toBe('UNAUTHENTICATED');
    expect((await ask('/metrics', server.alice)).contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  });

  it('count requests by the route that is declared, never by the name of a thing', () => {
    expect(text).toMatch(/^nusec_http_requests_total\{method="GET",route="\/v1\/devices\/:uid",status="404"\} 1$/m);
    expect(text).toMatch(/^nusec_http_requests_total\{method="GET",route="none",status="404"\} 1$/m);
    expect(text).toMatch(/^nusec_http_request_duration_seconds_bucket\{le="10",method="POST",route="\/v1\/operators"\} 1$/m);
    expect(text).not.toContain('00112233');
  });

  it('tell of signatures, certificates, followers and the log', () => {
    expect(text).toMatch(/^nusec_signatures_total\{key="\w+"\} [1-9]/m);
    expect(text).toMatch(/^nusec_certificates_ending\{days="30"\} \d+$/m);
    expect(text).toMatch(/^nusec_follower_stopped\{follower="revocations"\} 0$/m);
    expect(text).toMatch(/^nusec_events_total [1-9]/m);
  });

  it('name the process where several may be the one that is asked', async () => {
    const several = await startTestServer(undefined, undefined, { sharePorts: true });
    onTestFinished(several.close);
    // As Prometheus: it keeps a connection that the server does not end.
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const scrape = ({ url, rootPem: ca, alice }: TestServer) =>
      exchange(`${url}/metrics`, { ca, agent, headers: { Authorization: `Bearer ${alice}` } });
    expect((await scrape(server)).headers.connection).toBe('keep-alive');
    await scrape(several);
    const figures = await scrape(several);
    expect(figures.headers.connection).toBe('close');
    expect(figures.text).toMatch(/^nusec_events_total\{process="1"\} \d+$/m);
    expect(figures.text).toMatch(/^nusec_http_requests_total\{.*process="1"\} \d+$/m);
    expect(text).not.toContain('process="');
  });

  it('tell how long the event loop was busy', async () => {
    const busyMs = 100;
    await ask('/metrics', server.alice);
    // The server is in this process.
    for (let turn = 0; turn < 10; turn += 1) {
      const endMs = performance.now() + busyMs;
      while (performance.now() < endMs);
      await new Promise(setImmediate);
    }
    const lag = /^nodejs_eventloop_lag_p99_seconds ([\d.e-]+)$/m.exec((await ask('/metrics', server.alice)).text)?.[1];
    expect(Number(lag)).toBeGreaterThan(busyMs / 2000);
  });

  it('are clean for promtool', () => {
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' });
    expect(checked.stdout + checked.stderr).toBe('');
  });
});

describe('deploy/', () => {
  const board = JSON.parse(readFileSync(`${root}deploy/grafana.json`, 'utf8')) as {
    panels: readonly { title: string; targets?: readonly { expr: string }[] }[];
  };
  const { groups } = parse(readFileSync(`${root}deploy/alerts.yml`, 'utf8')) as {
    groups: readonly { rules: readonly { alert: string; expr: string }[] }[];
  };
  const expressions = [
    ...board.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
    ...groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const)),
  ];

  it.each(expressions)('%s asks for figures that there are', (_, expr) => {
    const known = namesIn(text);
    const asked = [...expr.matchAll(/\b((?:nusec|process|nodejs)_\w+)/g)].map(([, name = '']) => name.replace(/_(bucket|sum|count)$/, ''));
    expect(asked.filter(name => !known.has(name))).toEqual([]);
    expect(asked.length + Number(expr.includes('up{'))).toBeGreaterThan(0);
  });

  it('has rules that see two processes behind one address, of which each scrape reaches another', () => {
    const scrapes = 80;
    const series = (name: string, process: 1 | 2, value: number) => ({
      series: `${name}process="${process}",job="nusec"}`,
      values: Array.from({ length: scrapes }, (_, i) => (i % 2 === process - 1 ? value : 'stale')).join(' '),
    });
    const input = [
      series('nusec_alarms_open{', 1, 1),
      series('nusec_alarms_open{', 2, 1),
      series('nusec_follower_stopped{follower="x",', 1, 0),
      series('nusec_follower_stopped{follower="x",', 2, 1),
      series('nusec_http_requests_total{status="500",', 1, 100),
      series('nusec_http_requests_total{status="500",', 2, 3),
    ];
    const expected = (alertname: string, labels: object | undefined, summary = '') => ({
      ...{ eval_time: '19m', alertname },
      exp_alerts: labels === undefined ? [] : [{ exp_labels: { job: 'nusec', ...labels }, exp_annotations: { summary } }],
    });
    const test = {
      rule_files: [`${root}deploy/alerts.yml`],
      evaluation_interval: '15s',
      tests: [
        {
          interval: '15s',
          input_series: input,
          alert_rule_test: [
            expected('NusecAlarmsOpen', { severity: 'warning' }, '1 alarm cases are open: nusec alarm list'),
            expected('NusecFollowerStopped', { severity: 'critical', follower: 'x' }, 'x cannot go on: nusec log followers'),
            expected('NusecRequestsFail', undefined),
          ],
        },
      ],
    };
    const file = join(mkdtempSync(join(tmpdir(), 'nusec-rules-')), 'test.yml');
    writeFileSync(file, JSON.stringify(test));
    const checked = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' });
    expect(checked.stdout + checked.stderr).toContain('SUCCESS');
  });

  it('has rules that promtool takes', () => {
    const checked = spawnSync('promtool', ['check', 'rules', `${root}deploy/alerts.yml`], { encoding: 'utf8' });
    expect(checked.stdout).toContain('SUCCESS');
  });
});
