import { encodeAs } from '../../src/cbor/schema.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { decodeResponse } from '../../src/production/devauth/body.ts';
import { devAuthMalformed } from '../../src/production/devauth/error.ts';
import { decodeMessage, encodeMessage, maxBodyDepth, responseTo } from '../../src/production/devauth/header.ts';
import { responseTimeoutMs } from '../../src/production/devauth/host.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../src/production/devauth/vendor.ts';
import { openByteLink } from '../link/byteLink.ts';
import { createMctpClient } from '../link/mctpLink.ts';
import {
  type ProgrammerCommandName,
  type ProgrammerRequest,
  type ProgrammerResponse,
  packagePieceBytes,
  programmerCommands,
  programmerGroup,
} from './protocol.ts';

/** The asking side of group 65: what the contract manufacturer's tool speaks (R108). */
export type ProgrammerClient = {
  /** @throws DevAuthError when the programmer refuses; LINK_TIMEOUT, LINK_FAILED: what it has begun goes on; DEVAUTH_MALFORMED */
  request<N extends ProgrammerCommandName>(name: N, params: ProgrammerRequest<N>): Promise<ProgrammerResponse<N>>;
  close(): Promise<void>;
};

/** Agreement and import speak with the server before they answer; a repeat would only wait too. */
const slow: ReadonlySet<ProgrammerCommandName> = new Set(['agreeKek', 'packageImport', 'probe']);
const slowTimeoutMs = 40_000;

/** @param address `host:port` of the programmer's serial link, or the path of a UART @throws NusecError LINK_FAILED */
export async function connectProgrammer(address: string): Promise<ProgrammerClient> {
  let present: ProgrammerCommandName = 'status';
  const timeoutMs = (messageBytes: number): number => (slow.has(present) ? slowTimeoutMs : responseTimeoutMs(messageBytes));
  const mctp = createMctpClient(await openByteLink(address), { timeoutMs });
  let sequence = 0;
  let hasAnswered = false;
  return {
    request: async <N extends ProgrammerCommandName>(name: N, params: ProgrammerRequest<N>) => {
      const { id, op, request, response } = programmerCommands[name];
      present = name;
      sequence = (sequence + 1) % 256;
      const body = encodeAs(request as never, params as never, maxBodyDepth);
      const message = encodeMessage({ op, sequence, command: id, body }, programmerGroup);
      const { message: bytes } = decodeVendorMessage(
        await mctp
          .request(encodeVendorMessage(message, { integrityCheck: true }))
          .catch(error => (hasAnswered ? lost(error) : neverFound(address, error))),
      );
      hasAnswered = true;
      const answer = decodeMessage(bytes, programmerGroup);
      if (answer.op !== responseTo(op) || answer.sequence !== sequence || answer.command !== id) {
        throw devAuthMalformed('the response answers another request');
      }
      return decodeResponse(response as never, answer.body) as ProgrammerResponse<N>;
    },
    close: () => mctp.close(),
  };
}

const isOfLink = (cause: unknown): cause is NusecError =>
  cause instanceof NusecError && (cause.code === 'LINK_FAILED' || cause.code === 'LINK_TIMEOUT');

/** What is connected has not said anything that a programmer says: it may be a chip, another server, or a line that goes nowhere. */
function neverFound(address: string, cause: unknown): never {
  if (!isOfLink(cause)) throw cause;
  const detail = 'look whether this is the serial link of the programmer, and whether it is on';
  throw new NusecError(cause.code, `no programmer answers at ${address} (${cause.message}): ${detail}`, { cause });
}

/** Whoever asks has lost the programmer, and the programmer nothing. */
function lost(cause: unknown): never {
  if (!isOfLink(cause)) throw cause;
  const detail = 'what it has begun goes on by itself, a unit too; connect it again and run the same command';
  throw new NusecError(cause.code, `the programmer cannot be reached any more (${cause.message}): ${detail}`, { cause });
}

/** Hands a production package over and has it imported. @throws DevAuthError policy: refused, whatever the reason */
export async function sendPackage(client: ProgrammerClient, file: Uint8Array): Promise<ProgrammerResponse<'packageImport'>> {
  for (let offset = 0; offset < file.length; offset += packagePieceBytes) {
    const data = file.subarray(offset, offset + packagePieceBytes);
    const hash = offset === 0 ? { sha256: sha256(file) } : {};
    await client.request('packagePut', { offset, totalBytes: file.length, data, ...hash });
  }
  return client.request('packageImport', {});
}
