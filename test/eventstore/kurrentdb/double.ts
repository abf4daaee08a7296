import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { type Stored, streamTable } from './doubleStreams.ts';

/** A protocol double of KurrentDB: it speaks the streams protocol over gRPC and keeps everything in memory. It is no KurrentDB: what it does was
 *  learned from the public protocol and from a real server (docs/kurrentdb.md), and where the two differed there is a test. */

const require = createRequire(import.meta.url);
const folder = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1';
type Streams = typeof import('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js');
type Shared = typeof import('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js');
type Features = typeof import('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/serverfeatures_pb.js');
type ReadReq = InstanceType<Streams['ReadReq']>;
type ReadResp = InstanceType<Streams['ReadResp']>;
type BatchReq = InstanceType<Streams['BatchAppendReq']>;
type BatchResp = InstanceType<Streams['BatchAppendResp']>;

const streams = require(`${folder}/streams_pb.js`) as Streams;
const shared = require(`${folder}/shared_pb.js`) as Shared;
const features = require(`${folder}/serverfeatures_pb.js`) as Features;
const { StreamsService } = require(`${folder}/streams_grpc_pb.js`);
const { ServerFeaturesService } = require(`${folder}/serverfeatures_grpc_pb.js`);
const { Status } = require(`${folder}/status_pb.js`);
const ofClient = createRequire(require.resolve(`${folder}/status_pb.js`));
const { Any } = ofClient('google-protobuf/google/protobuf/any_pb.js');
const { Empty } = ofClient('google-protobuf/google/protobuf/empty_pb.js');

type AppendFault = 'lost' | 'unanswered' | 'silent' | 'ends';

export type Double = {
  /** `kurrentdb://127.0.0.1:PORT?tls=false`; with TLS `kurrentdb://localhost:PORT` */
  readonly url: string;
  /** Appends so far. */
  appends(): number;
  /** What becomes of the next append to a stream whose name ends so: `lost`: not stored, and the connection breaks; `unanswered`: stored, and the
   *  connection breaks before the answer; `silent`: stored, and nothing is heard of it; `ends`: not stored, and nothing is reached until `up`, as when the
   *  disk of a real server is full: it ends. */
  failNextAppend(ending: string, how: AppendFault): void;
  /** All connections break; nothing is reached until `up`. What was stored stays. */
  down(): Promise<void>;
  up(): Promise<void>;
  /** Takes everything and answers nothing, as a process that was stopped. */
  pause(): void;
  resume(): void;
  /** Each event of a read or subscription takes so long. */
  slowReads(delayMs: number): void;
  /** Puts an event into a stream behind everybody's back. */
  plant(stream: string, type: string, data: object): void;
  /** Cuts a stream: the newest events are gone, as after an old backup was put back. */
  cut(stream: string, length: number): void;
  close(): Promise<void>;
};

export type DoubleOptions = {
  /** PEM of a node; then it listens with TLS on `localhost`. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** `user:password` that every call must have. */
  readonly login?: string;
  /** As a node of a cluster (doubleCluster.ts): its streams are those of all nodes, and who asks another node than the leader for it is sent there. */
  readonly node?: {
    readonly table: ReturnType<typeof streamTable>;
    readonly services: readonly { readonly definition: ServiceDefinition; readonly functions: UntypedServiceImplementation }[];
    /** @returns the port of the leader when that is another one; 0 when there is none */
    elsewhere(): number | undefined;
  };
};

export async function startDouble({ tls, login, node }: DoubleOptions = {}): Promise<Double> {
  const table = node?.table ?? streamTable();
  let port = 0;
  let appends = 0;
  let fault: { readonly ending: string; readonly how: AppendFault } | undefined;
  let resumed: PromiseWithResolvers<void> | undefined;
  let readDelayMs = 0;
  let server: Server | undefined;

  /** @returns whether the call was refused */
  const refused = (call: { readonly metadata: Metadata; emit(event: 'error', error: object): unknown }): boolean => {
    const leader = node?.elsewhere();
    if (leader !== undefined && call.metadata.get('requires-leader')[0] === 'true') {
      call.emit('error', leader === 0 ? { code: status.UNAVAILABLE, details: 'no leader' } : notLeader(leader));
      return true;
    }
    if (login === undefined || call.metadata.get('authorization')[0] === `Basic ${Buffer.from(login).toString('base64')}`) return false;
    call.emit('error', { code: status.UNAUTHENTICATED, details: 'UNAUTHENTICATED' });
    return true;
  };
  const breakConnections = (): void => {
    const broken = server;
    server = undefined;
    broken?.forceShutdown();
    void listen();
  };
  const batchAppend = (call: ServerDuplexStream<BatchReq, BatchResp>): void => {
    if (refused(call)) return;
    const open = new Map<string, BatchReq[]>();
    call.on('data', async (request: BatchReq) => {
      const id = request.getCorrelationId()?.getString() ?? '';
      const requests = [...(open.get(id) ?? []), request];
      open.set(id, requests);
      if (!request.getIsFinal()) return;
      open.delete(id);
      await resumed?.promise;
      const options = requests[0]?.getOptions() as NonNullable<ReturnType<BatchReq['getOptions']>>;
      const stream = Buffer.from(options.getStreamIdentifier()?.getStreamName_asU8() ?? []).toString();
      const isFaulty = fault !== undefined && stream.endsWith(fault.ending);
      const how = isFaulty ? fault?.how : undefined;
      if (isFaulty) fault = undefined;
      if (how === 'lost') return breakConnections();
      if (how === 'ends') return void down();
      const expected = options.hasStreamPosition()
        ? Number(options.getStreamPosition())
        : options.hasNoStream()
          ? 'none'
          : options.hasStreamExists()
            ? 'exists'
            : 'any';
      const result = table.append(stream, expected, requests.flatMap(each => each.getProposedMessagesList()).map(proposed));
      appends += 1;
      if (how === 'unanswered') return breakConnections();
      if (how === 'silent') return;
      call.write(batchAnswer(request, options, result));
    });
    call.on('end', () => call.end());
    call.on('error', () => undefined);
  };
  const read = async (call: ServerWritableStream<ReadReq, ReadResp>): Promise<void> => {
    if (refused(call)) return;
    await resumed?.promise;
    const options = call.request.getOptions() as NonNullable<ReturnType<ReadReq['getOptions']>>;
    const own = options.getStream() as NonNullable<ReturnType<typeof options.getStream>>;
    const stream = Buffer.from(own.getStreamIdentifier()?.getStreamName_asU8() ?? []).toString();
    const ended = Promise.race([once(call, 'cancelled'), once(call, 'close')]);
    if (options.hasSubscription()) {
      const after = own.hasRevision() ? Number(own.getRevision()) : own.hasStart() ? -1 : table.last(stream);
      call.write(new streams.ReadResp().setConfirmation(new streams.ReadResp.SubscriptionConfirmation().setSubscriptionId('double')));
      const stop = table.follow(stream, after, async event => {
        await resumed?.promise;
        if (readDelayMs > 0) await sleep(readDelayMs);
        if (!call.write(readAnswer(event))) await Promise.race([once(call, 'drain'), ended]);
      });
      void ended.then(stop);
      return;
    }
    const isBackwards = options.getReadDirection() === 1;
    const from = own.hasRevision()
      ? Number(own.getRevision())
      : own.hasStart()
        ? 0
        : isBackwards
          ? Number.MAX_SAFE_INTEGER
          : table.last(stream) + 1;
    const events = table.read(stream, from, Number(options.getCount()), isBackwards);
    if (events === undefined) call.write(notFound(stream));
    for (const event of events ?? []) {
      if (readDelayMs > 0) await sleep(readDelayMs);
      if (!call.write(readAnswer(event))) await Promise.race([once(call, 'drain'), ended]);
    }
    call.end();
  };
  const pair = tls && { private_key: Buffer.from(tls.key), cert_chain: Buffer.from(tls.cert) };
  const credentials = pair === undefined ? ServerCredentials.createInsecure() : ServerCredentials.createSsl(null, [pair]);
  const listen = async (): Promise<void> => {
    const next = new Server({ 'grpc.max_receive_message_length': 17 * 1024 * 1024 });
    next.addService(ServerFeaturesService, {
      getSupportedMethods: (_: unknown, answer: (error: null, value: unknown) => void) => answer(null, supported()),
    });
    for (const { definition, functions } of node?.services ?? []) next.addService(definition, functions);
    next.addService(StreamsService, {
      read,
      batchAppend,
      append: (_: unknown, answer: (error: object) => void) => answer({ code: status.UNIMPLEMENTED }),
      delete: async (call: { request: InstanceType<Streams['DeleteReq']> }, answer: (error: object | null, value?: unknown) => void) => {
        await resumed?.promise;
        const stream = Buffer.from(call.request.getOptions()?.getStreamIdentifier()?.getStreamName_asU8() ?? []).toString();
        const position = table.delete(stream);
        if (position === undefined) return answer(wrongVersion(stream));
        const place = new streams.DeleteResp.Position().setCommitPosition(`${position}`).setPreparePosition(`${position}`);
        answer(null, new streams.DeleteResp().setPosition(place));
      },
      tombstone: (_: unknown, answer: (error: object) => void) => answer({ code: status.UNIMPLEMENTED }),
    });
    port = await new Promise<number>((resolve, reject) =>
      next.bindAsync(`127.0.0.1:${port}`, credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    server = next;
  };
  await listen();
  const down = async (): Promise<void> => {
    server?.forceShutdown();
    server = undefined;
  };
  return {
    url: tls === undefined ? `kurrentdb://127.0.0.1:${port}?tls=false` : `kurrentdb://localhost:${port}`,
    appends: () => appends,
    failNextAppend(ending, how) {
      fault = { ending, how };
    },
    down,
    up: listen,
    pause() {
      resumed = Promise.withResolvers();
    },
    resume() {
      resumed?.resolve();
      resumed = undefined;
    },
    slowReads(delayMs) {
      readDelayMs = delayMs;
    },
    plant: (stream, type, data) =>
      void table.append(stream, 'any', [
        {
          id: crypto.randomUUID(),
          metadata: new Map([
            ['type', type],
            ['content-type', 'application/json'],
          ]),
          data: Buffer.from(JSON.stringify(data)),
        },
      ]),
    cut: table.cut,
    async close() {
      resumed?.resolve();
      await down();
    },
  };
}

const once = (emitter: { once(event: string, listener: () => void): unknown }, event: string): Promise<void> =>
  new Promise(resolve => emitter.once(event, () => resolve()));

const proposed = (message: InstanceType<Streams['BatchAppendReq']['ProposedMessage']>) => ({
  id: message.getId()?.getString() ?? '',
  metadata: new Map(message.getMetadataMap().entries()),
  data: message.getData_asU8(),
});

function supported() {
  const method = (name: string, service: string) => new features.SupportedMethod().setMethodName(name).setServiceName(service);
  const names = ['append', 'batchappend', 'delete', 'read', 'tombstone'];
  return new features.SupportedMethods()
    .setEventStoreServerVersion('0.0.0-double')
    .setMethodsList(names.map(name => method(name, 'event_store.client.streams.streams')));
}

function batchAnswer(
  request: BatchReq,
  options: NonNullable<ReturnType<BatchReq['getOptions']>>,
  result: ReturnType<ReturnType<typeof streamTable>['append']>,
): BatchResp {
  const answer = new streams.BatchAppendResp()
    .setCorrelationId(request.getCorrelationId())
    .setStreamIdentifier(options.getStreamIdentifier());
  if (result.ok) {
    const position = new shared.AllStreamPosition().setCommitPosition(`${result.position}`).setPreparePosition(`${result.position}`);
    return answer.setSuccess(new streams.BatchAppendResp.Success().setCurrentRevision(`${result.revision}`).setPosition(position));
  }
  if (result.why === 'too large') {
    const details = new shared.MaximumAppendSizeExceeded().setMaxappendsize(result.maxBytes);
    return answer.setError(problem(details.serializeBinary(), 'event_store.client.MaximumAppendSizeExceeded'));
  }
  const details = new shared.WrongExpectedVersion();
  if (result.actual === -1) details.setCurrentNoStream(new Empty());
  else details.setCurrentStreamRevision(`${result.actual}`);
  if (options.hasStreamPosition()) details.setExpectedStreamPosition(options.getStreamPosition());
  else details.setExpectedNoStream(new Empty());
  return answer.setError(problem(details.serializeBinary(), 'event_store.client.WrongExpectedVersion'));
}

/** As a node says who leads: in the trailers. */
function notLeader(port: number): object {
  const metadata = new Metadata();
  metadata.set('exception', 'not-leader');
  metadata.set('leader-endpoint-host', '127.0.0.1');
  metadata.set('leader-endpoint-port', `${port}`);
  return { code: status.NOT_FOUND, details: 'Leader info available', metadata };
}

/** As the server says it of a deletion: in the trailers. */
function wrongVersion(stream: string): object {
  const metadata = new Metadata();
  metadata.set('exception', 'wrong-expected-version');
  metadata.set('stream-name', stream);
  metadata.set('expected-version', '-2');
  metadata.set('actual-version', '-1');
  return { code: status.FAILED_PRECONDITION, details: 'WrongExpectedVersion', metadata };
}

function problem(bytes: Uint8Array, type: string) {
  const any = new Any();
  any.pack(bytes, type);
  return new Status().setCode(3).setMessage(type).setDetails(any);
}

function readAnswer({ id, stream, revision, position, metadata, data }: Stored): ReadResp {
  const event = new streams.ReadResp.ReadEvent.RecordedEvent()
    .setId(new shared.UUID().setString(id))
    .setStreamIdentifier(new shared.StreamIdentifier().setStreamName(new Uint8Array(Buffer.from(stream))))
    .setStreamRevision(`${revision}`)
    .setCommitPosition(`${position}`)
    .setPreparePosition(`${position}`)
    .setData(data);
  for (const [name, value] of metadata) event.getMetadataMap().set(name, value);
  event.getMetadataMap().set('created', '17000000000000000');
  return new streams.ReadResp().setEvent(new streams.ReadResp.ReadEvent().setEvent(event).setCommitPosition(`${position}`));
}

function notFound(stream: string): ReadResp {
  const identifier = new shared.StreamIdentifier().setStreamName(new Uint8Array(Buffer.from(stream)));
  return new streams.ReadResp().setStreamNotFound(new streams.ReadResp.StreamNotFound().setStreamIdentifier(identifier));
}
