import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { buildHostProgram } from '../../scripts/cortexM/firmware.ts';
import { concat } from '../../src/bytes.ts';
import { decodeMessage, encodeMessage } from '../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import { createMctpAssembler, encodeMctp } from '../../src/spdm/transport/mctp.ts';
import { createSerialDecoder, encodeSerialFrame, maxSerialUnitBytes } from '../../src/spdm/transport/serial.ts';
import { within } from '../../src/within.ts';

/** The DevAuth code in C (firmware/devauth) under address and undefined-behaviour sanitizers. The input is `form | op | command | body`: a request,
 *  or with form 0 a message and with form 2 bytes of the line as they are. The program goes on to answer HELLO. */

const program = buildHostProgram();
if (program === undefined)
  console.log('devauth-c: no C compiler with sanitizers here (Debian package gcc), or no BearSSL: nothing is tried');

const [hostEid, deviceEid] = [8, 9];
const answerMs = 20_000;
const hello = Uint8Array.of(0xa2, 1, 1, 2, 0x50, ...new Uint8Array(16));
let sequence = 0;
let running: Running | undefined;

type Running = {
  readonly child: ChildProcessWithoutNullStreams;
  /** Exit status and what it printed. */
  readonly ended: Promise<string>;
  onMessage: (body: Uint8Array) => void;
};

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    if (program === undefined) return;
    running ??= start(program);
    const [form = 0, op = 0, command = 0] = input;
    if (form === 2) running.child.stdin.write(input.subarray(1));
    else running.child.stdin.write(framed(form === 0 ? input.slice(1) : wrapped(op % 4, command, input.slice(3))));
    const answer = await greeted(running);
    if (answer === 'reset') running = undefined;
    else if (answer !== 'greeted') throw new Error(answer);
  },
};

function start(path: string): Running {
  const child = spawn(path);
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(0, 4000);
  });
  child.stdin.on('error', () => undefined);
  const ended = new Promise<string>(resolve =>
    child.once('close', status => resolve(status === 0 ? 'reset' : `status ${status}: ${errors}`)),
  );
  const started: Running = { child, ended, onMessage: () => undefined };
  const decoder = createSerialDecoder();
  const assembler = createMctpAssembler(hostEid);
  child.stdout.on('data', (bytes: Buffer) => {
    for (const packet of decoder.push(new Uint8Array(bytes))) {
      const message = assembler.push(packet);
      if (message) started.onMessage(message.body);
    }
  });
  // It must not keep the fuzzer alive; it ends with its standard input.
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as Socket).unref();
  // With a key SIGN_CRI and PUT look into what they get.
  child.stdin.write(framed(wrapped(2, 1, Uint8Array.of(0xa3, 1, 0, 2, 0x26, 3, 0x19, 1, 0))));
  return started;
}

/** Says HELLO, twice: what came before may have left the line in the middle of a frame. */
async function greeted(asked: Running): Promise<string> {
  const request = wrapped(0, 0, hello);
  const wanted = sequence;
  const answered = new Promise<string>(resolve => {
    asked.onMessage = body => {
      const { sequence: answers, command } = decodeMessage(decodeVendorMessage(body).message);
      if (answers === wanted && command === 0) resolve('greeted');
    };
  });
  asked.child.stdin.write(concat(framed(request), framed(request)));
  return (await within(Promise.race([answered, asked.ended]), answerMs)) ?? 'HELLO is not answered any more';
}

function wrapped(op: number, command: number, body: Uint8Array): Uint8Array {
  sequence = (sequence + 1) % 256;
  return encodeVendorMessage(encodeMessage({ op, sequence, command, body }), { integrityCheck: true });
}

function framed(body: Uint8Array): Uint8Array {
  const packets = encodeMctp({ body, destination: deviceEid, source: hostEid, tag: sequence % 8, tagOwner: true }, maxSerialUnitBytes);
  return concat(...packets.map(encodeSerialFrame));
}
