import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, type Registry } from 'prom-client';
import { alarmQueries } from '../projections/alarms.ts';
import { certificateQueries } from '../projections/certificates.ts';
import { deviceQueries } from '../projections/deviceQueries.ts';
import { jobQueries } from '../projections/jobs.ts';
import { rolloutQueries } from '../projections/rollouts.ts';
import { nowIso } from '../services/base/context.ts';
import { createAttestationLag, createScheduleView } from '../services/field/attestationLag.ts';
import type { PortFigures, PresenceNote } from '../services/field/presence.ts';
import type { Services } from '../services/start/services.ts';
import { dayMs } from '../times.ts';

/** What the server knows anyway, read when somebody asks. Each comes from an index, from kept counts, or is kept for a minute. */

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [Labels, number];
type Figure = {
  readonly name: string;
  readonly help: string;
  /** Names of labels. */
  readonly labels?: readonly string[];
  readonly read: () => readonly Sample[] | Promise<readonly Sample[]>;
};

const mostCounted = 500;
const endingDays = [7, 30];
const one = (value: number): readonly Sample[] => [[{}, value]];

export function registerFigures(registry: Registry, services: Services): void {
  for (const figure of [
    ...ofLog(services),
    ...ofFleet(services),
    ...ofAttestation(services),
    ...ofPort(services),
    ...ofProcess(),
    loopDelay(),
  ])
    addGauge(registry, figure);
  for (const figure of [...totals(services), ...ofWebhooks(services)]) addCounter(registry, figure);
  for (const figure of webhookGauges(services)) addGauge(registry, figure);
}

function addGauge(registry: Registry, { name, help, labels = [], read }: Figure): void {
  const gauge = new Gauge({
    ...{ name, help, labelNames: [...labels], registers: [registry] },
    async collect() {
      const samples = await read();
      gauge.reset();
      for (const [of, value] of samples) gauge.set(of, value);
    },
  });
}

/** Of what counts by itself since the start of the process. */
function addCounter(registry: Registry, { name, help, labels = [], read }: Figure): void {
  const counter = new Counter({
    ...{ name, help, labelNames: [...labels], registers: [registry] },
    async collect() {
      const samples = await read();
      counter.reset();
      for (const [of, value] of samples) counter.inc(of, value);
    },
  });
}

const ofLog = ({ ctx, newestCheckpoint, logCheck }: Services): readonly Figure[] => [
  {
    name: 'nusec_projection_behind_events',
    help: 'Events a read model has yet to see',
    labels: ['projection'],
    read: () => ctx.reads.health().projections.map(({ name: projection, behindEvents }) => [{ projection }, behindEvents]),
  },
  {
    name: 'nusec_follower_behind_events',
    help: 'Events a follower of the log has yet to handle',
    labels: ['follower'],
    read: () => ctx.followers.states().map(({ name: follower, behindEvents }) => [{ follower }, behindEvents]),
  },
  {
    name: 'nusec_follower_stopped',
    help: '1 while a follower of the log cannot go on',
    labels: ['follower'],
    read: () => ctx.followers.states().map(({ name: follower, failure }) => [{ follower }, failure === undefined ? 0 : 1]),
  },
  {
    name: 'nusec_checkpoint_age_seconds',
    help: 'Age of the newest signed checkpoint that this process knows',
    read() {
      const at = newestCheckpoint.newest()?.at;
      return at === undefined ? [] : one((ctx.clock().getTime() - at.getTime()) / 1000);
    },
  },
  {
    name: 'nusec_log_damaged',
    help: '1 when the check of the log has found damage',
    read: () => one(logCheck.trouble() === undefined ? 0 : 1),
  },
  {
    name: 'nusec_alarms_open',
    help: `Alarm cases that are open, ${mostCounted} at most`,
    read: async () => one((await alarmQueries(ctx.reads.db).cases({ state: 'open', limit: mostCounted, now: nowIso(ctx) })).length),
  },
];

const ofFleet = ({ ctx }: Services): readonly Figure[] => [
  {
    name: 'nusec_devices',
    help: 'Devices in each state',
    labels: ['status'],
    async read() {
      const byStatus = new Map<string, number>();
      for (const { status, count } of await deviceQueries(ctx.reads.db).counts()) byStatus.set(status, (byStatus.get(status) ?? 0) + count);
      return [...byStatus].map(([status, count]) => [{ status }, count]);
    },
  },
  {
    name: 'nusec_rollouts_running',
    help: 'Rollouts under way',
    read: async () => one((await rolloutQueries(ctx.reads.db).page({ status: 'RUNNING', limit: mostCounted })).length),
  },
  {
    name: 'nusec_jobs_running',
    help: 'Production jobs under way',
    read: async () => one((await jobQueries(ctx.reads.db).page({ status: 'RUNNING', limit: mostCounted })).length),
  },
  {
    name: 'nusec_certificates_ending',
    help: `Certificates that are not revoked and end within so many days, ${mostCounted} at most; those that were renewed count too`,
    labels: ['days'],
    read: () =>
      Promise.all(
        endingDays.map(async (days): Promise<Sample> => {
          const time = new Date(ctx.clock().getTime() + days * dayMs).toISOString();
          return [{ days: String(days) }, await certificateQueries(ctx.reads.db).countEnding(time, mostCounted)];
        }),
      ),
  },
];

function ofAttestation({ ctx, attestations }: Services): readonly Figure[] {
  const lagNow = createAttestationLag(ctx, attestations);
  const schedulesNow = createScheduleView(ctx, attestations);
  const scheduledNow = async () => (await schedulesNow()).filter(({ everyHours }) => everyHours !== undefined);
  return [
    {
      name: 'nusec_devices_attested',
      help: 'Devices in use that were attested within a day and a week, and all of them; counted once a minute',
      labels: ['within'],
      async read() {
        const { inUse, withinDay, withinWeek } = await lagNow();
        return [
          [{ within: 'day' }, withinDay],
          [{ within: 'week' }, withinWeek],
          [{ within: 'ever' }, inUse],
        ];
      },
    },
    {
      name: 'nusec_attestation_schedule_lag_devices',
      help: 'Devices in service whose attestation is due by the schedule of their line; counted once a minute',
      labels: ['line'],
      read: async () => (await scheduledNow()).map(({ line, left }) => [{ line }, left] as const),
    },
    {
      name: 'nusec_attestation_overdue_devices',
      help: 'Devices in service that were not attested within two periods of the schedule of their line; counted once a minute',
      labels: ['line'],
      read: async () => (await scheduledNow()).map(({ line, overdueDevices }) => [{ line }, overdueDevices] as const),
    },
  ];
}

/** The MQTT port of this process. */
function ofPort({ field }: Services): readonly Figure[] {
  return [
    { name: 'nusec_mqtt_connections', help: 'TCP connections', read: () => withPort(({ connections }) => one(connections)) },
    { name: 'nusec_mqtt_online', help: 'Clients with a CONNACK', read: () => withPort(({ online }) => one(online)) },
    {
      name: 'nusec_mqtt_handshakes',
      help: 'Connections whose TLS handshake is not over',
      labels: ['state'],
      read: () =>
        withPort(({ handshakesInFlight, handshakesWaiting, silentConnections }) => [
          [{ state: 'running' }, handshakesInFlight],
          [{ state: 'waiting' }, handshakesWaiting],
          [{ state: 'silent' }, silentConnections],
        ]),
    },
  ];
  function withPort(read: (port: PortFigures) => readonly Sample[]): readonly Sample[] {
    const port = field.presence.port();
    return port === undefined ? [] : read(port);
  }
}

function totals({ ctx, field }: Services): readonly Figure[] {
  const happened = (state: PresenceNote['state']): readonly Sample[] =>
    field.presence
      .counts()
      .filter(each => each.state === state)
      .map(({ reason, count }) => [reason === '' ? {} : { reason }, count]);
  return [
    { name: 'nusec_events_total', help: 'Events in the log', read: () => one(ctx.store.seen()) },
    {
      name: 'nusec_signatures_total',
      help: 'Signatures of the keystore, by the kind of key',
      labels: ['key'],
      read: () => [...ctx.signatures].map(([key, { signatures }]) => [{ key }, signatures]),
    },
    {
      name: 'nusec_signature_failures_total',
      help: 'Signatures that the keystore did not give',
      labels: ['key'],
      read: () => [...ctx.signatures].map(([key, { failures }]) => [{ key }, failures]),
    },
    {
      name: 'nusec_signature_seconds_total',
      help: 'Time spent on signatures',
      labels: ['key'],
      read: () => [...ctx.signatures].map(([key, { spentMs }]) => [{ key }, spentMs / 1000]),
    },
    {
      name: 'nusec_attestations_total',
      help: 'Attestations that this process made, by what came of them; unanswered ones are in no log',
      labels: ['line', 'result'],
      read: () => field.attestation.counts().map(({ line, end, count }) => [{ line, result: end }, count]),
    },
    {
      name: 'nusec_mqtt_handshakes_total',
      help: 'TLS handshakes that ended well',
      labels: ['session'],
      read() {
        const { handshakes = 0, resumed = 0 } = field.presence.port() ?? {};
        return [
          [{ session: 'new' }, handshakes - resumed],
          [{ session: 'resumed' }, resumed],
        ];
      },
    },
    {
      name: 'nusec_mqtt_connects_total',
      help: 'Clients that came online, at all processes',
      labels: ['reason'],
      read: () => happened('connected'),
    },
    {
      name: 'nusec_mqtt_disconnects_total',
      help: 'Clients that left or were cut, at all processes',
      labels: ['reason'],
      read: () => happened('disconnected'),
    },
    {
      name: 'nusec_mqtt_refusals_total',
      help: 'Connections that were refused, at all processes',
      labels: ['reason'],
      read: () => happened('refused'),
    },
  ];
}

/** Only the leading process delivers. */
const ofWebhooks = ({ webhookFigures }: Services): readonly Figure[] => [
  {
    name: 'nusec_webhook_deliveries_total',
    help: 'Attempts to deliver an event, by what came of them',
    labels: ['webhook', 'outcome'],
    read: () =>
      webhookFigures.all().flatMap(({ name: webhook, delivered, failed }): readonly Sample[] => [
        [{ webhook, outcome: 'delivered' }, delivered],
        [{ webhook, outcome: 'failed' }, failed],
      ]),
  },
];

const webhookGauges = ({ ctx, webhookFigures }: Services): readonly Figure[] => [
  {
    name: 'nusec_webhook_dead_letters',
    help: 'Events that could not be delivered',
    labels: ['webhook'],
    read: () => webhookFigures.all().map(({ name: webhook, deadLetters }) => [{ webhook }, deadLetters]),
  },
  {
    name: 'nusec_webhook_behind_events',
    help: 'Events that a webhook has yet to look at',
    labels: ['webhook'],
    read: () => webhookFigures.all().map(({ name: webhook, position }) => [{ webhook }, Math.max(0, ctx.store.seen() - position)]),
  },
];

/** A timer of this period that comes late has waited for the event loop. */
const loopTimerMs = 10;

/** How long work had to wait for the event loop: that is what a device feels. Counted from one reading to the next, as exporters do. */
function loopDelay(): Figure {
  const delays = monitorEventLoopDelay({ resolution: loopTimerMs });
  delays.enable();
  return {
    name: 'nodejs_eventloop_lag_p99_seconds',
    help: 'Delay of the event loop that 99 of 100 turns stay below, since it was read last',
    read() {
      const delayMs = delays.percentile(99) / 1e6 - loopTimerMs;
      delays.reset();
      return one(Math.max(0, delayMs) / 1000);
    },
  };
}

/** By the names that exporters use. */
const ofProcess = (): readonly Figure[] => [
  { name: 'process_resident_memory_bytes', help: 'Resident memory', read: () => one(process.memoryUsage.rss()) },
  { name: 'nodejs_heap_size_used_bytes', help: 'Heap in use', read: () => one(process.memoryUsage().heapUsed) },
  { name: 'process_start_time_seconds', help: 'Start, seconds since 1970', read: () => one(Math.floor(performance.timeOrigin / 1000)) },
  {
    name: 'nodejs_eventloop_utilization_ratio',
    help: 'Share of time in which the event loop had work, since the start',
    read: () => one(performance.eventLoopUtilization().utilization),
  },
];
