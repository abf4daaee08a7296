import { connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { NusecError } from '../../src/errors.ts';
import { listenOn } from '../../src/listening.ts';

/** A duplex stream of bytes: a TCP socket to a virtual device, or a UART. Everything above is the same code for both. */
export type ByteLink = {
  /** Resolves when the bytes are handed to the driver; rejects when the link is gone. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
  /** One reader. Bytes come in any portions, in order. */
  readonly onData: (reader: (bytes: Uint8Array) => void) => void;
  /** Called once, also when the link was closed before. */
  readonly onClose: (listener: () => void) => void;
  readonly close: () => Promise<void>;
};

const connectTimeoutMs = 5_000;
/** Default speed of a UART (docs/virtual-mcu.md). */
const defaultBaudRate = 115_200;

/** @throws NusecError LINK_FAILED when nobody listens there within 5 s */
export async function connectTcp(host: string, port: number): Promise<ByteLink> {
  const socket = connect({ host, port, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy();
      reject(new NusecError('LINK_FAILED', `${host}:${port}: ${error.message}`, { cause: error }));
    };
    socket.setTimeout(connectTimeoutMs, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      resolve();
    });
  });
  return linkOf(socket);
}

export type ByteServer = { readonly port: number; readonly close: () => Promise<void> };

/** Listens on loopback. Like the one UART that a chip has, it serves one peer at a time: a new one takes the place of the old.
 *  @param port  0 = any free one  @param option  by which a person chooses another  @param maxPeers that are served at the same time; one more
 *  takes the place of the oldest  @throws NusecError PORT_TAKEN, LISTEN_FAILED */
export async function listenTcp(port: number, onLink: (link: ByteLink) => void, option?: string, maxPeers = 1): Promise<ByteServer> {
  const peers = new Set<Socket>();
  const server = createServer({ noDelay: true }, socket => {
    const [oldest] = peers;
    if (peers.size >= maxPeers) oldest?.destroy();
    peers.add(socket);
    socket.once('close', () => peers.delete(socket));
    onLink(linkOf(socket));
  });
  const place = { port, host: '127.0.0.1', ...(option !== undefined && { option }) };
  return {
    port: await listenOn(server, place),
    close: async () => {
      for (const peer of peers) peer.destroy();
      await new Promise<void>(resolve => server.close(() => resolve()));
    },
  };
}

/** A real UART or a pseudo-terminal; 8 data bits, no parity, 1 stop bit. The driver is loaded on first use.
 *  @throws NusecError LINK_FAILED when the port cannot be opened */
export async function openSerial(path: string, baudRate = defaultBaudRate): Promise<ByteLink> {
  const { SerialPort } = await import('serialport');
  const port = new SerialPort({ path, baudRate, autoOpen: false });
  await new Promise<void>((resolve, reject) => {
    port.open(cause =>
      cause ? reject(new NusecError('LINK_FAILED', `${path}: ${cause.message.replace(/^Error: /, '')}`, { cause })) : resolve(),
    );
  });
  return linkOf(port, () => new Promise(resolve => (port.isOpen ? port.close(() => resolve()) : resolve())));
}

/** An address as the command line takes it: `host:port`, or the path of a serial device. */
export async function openByteLink(address: string): Promise<ByteLink> {
  const tcp = /^([^/]+):(\d+)$/.exec(address);
  return tcp ? connectTcp(tcp[1] ?? '', Number(tcp[2])) : openSerial(address);
}

function linkOf(stream: Duplex, close: () => Promise<void> = () => destroyed(stream)): ByteLink {
  let isClosed = false;
  const closed = new Promise<void>(resolve => {
    stream.once('close', () => {
      isClosed = true;
      resolve();
    });
  });
  // A broken link ends in 'close' too; who waits for an answer learns it from there.
  stream.on('error', () => stream.destroy());
  return {
    write: bytes => (isClosed ? Promise.reject(gone()) : written(stream, bytes)),
    onData: reader => {
      stream.on('data', (chunk: Buffer) => reader(new Uint8Array(chunk)));
    },
    onClose: listener => void closed.then(listener),
    close,
  };
}

function written(stream: Duplex, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(Buffer.from(bytes), error => (error ? reject(gone(error)) : resolve()));
  });
}

function destroyed(stream: Duplex): Promise<void> {
  return new Promise(resolve => {
    if (stream.closed) resolve();
    else stream.once('close', () => resolve());
    stream.destroy();
  });
}

const gone = (cause?: Error): NusecError => new NusecError('LINK_FAILED', 'the link is closed', { cause });
