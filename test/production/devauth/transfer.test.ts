import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { NusecError } from '../../../src/errors.ts';
import { createDevAuthHost } from '../../../src/production/devauth/host.ts';
import { type Pieces, takePiece } from '../../../src/production/devauth/pieces.ts';
import { createDevAuthResponder, type DevAuthHandlers } from '../../../src/production/devauth/responder.ts';
import { pieceBytesFor, putObject, sendFirmware } from '../../../src/production/devauth/transfer.ts';
import { covers } from '../../support/covers.ts';
import { fill } from '../samples.ts';

const maxBodyBytes = 256;
const version = { major: 1, minor: 0, revision: 0, build: 0 };

function hostOf(handlers: DevAuthHandlers) {
  const responder = createDevAuthResponder(handlers, { stage: () => 'bl2', maxBodyBytes });
  return createDevAuthHost({ send: async message => (await responder.respond(message, true)) ?? new Uint8Array(), maxBodyBytes });
}

describe('PUT in pieces', () => {
  it('brings an object of any length whole (R72)', async () => {
    covers('R72');
    const object = fc.uint8Array({ minLength: 1, maxLength: 2000 });
    await fc.assert(
      fc.asyncProperty(object, async bytes => {
        let pieces: Pieces | undefined;
        let stored: Uint8Array | undefined;
        const host = hostOf({
          put: request => {
            const taken = takePiece(pieces, request);
            pieces = taken.pieces;
            stored = taken.object;
            return { nextOffset: taken.nextOffset };
          },
        });
        await putObject(host, 'icaCertificate', bytes, pieceBytesFor(maxBodyBytes));
        expect(stored).toEqual(bytes);
      }),
      { numRuns: 30 },
    );
  });

  const object = fill(1, 100);
  const first = { type: 'bundle', offset: 0, totalBytes: 100, data: object.slice(0, 50), sha256: sha256(object) } as const;
  const second = { type: 'bundle', offset: 50, totalBytes: 100, data: object.slice(50) } as const;

  it('starts again at offset 0 and takes only the piece that follows (T33)', () => {
    covers('T33');
    const { pieces } = takePiece(undefined, first);
    expect(takePiece(takePiece(pieces, first).pieces, second).object).toEqual(object);
    const refused = expect.objectContaining({ reason: 'bad-arg' });
    expect(() => takePiece(undefined, second)).toThrow(refused);
    expect(() => takePiece(pieces, { ...second, offset: 49 })).toThrow(refused);
    expect(() => takePiece(pieces, { ...second, totalBytes: 101 })).toThrow(refused);
    expect(() => takePiece(pieces, { ...second, type: 'objId' })).toThrow(refused);
    expect(() => takePiece(pieces, { ...second, data: fill(2, 50) })).toThrow(refused);
  });
});

describe('firmware transfer', () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, n) => n & 0xff);

  const transferTo = (handlers: DevAuthHandlers) =>
    sendFirmware(hostOf(handlers), { image: 2, version, securityCounter: 1, bytes }, pieceBytesFor(maxBodyBytes));

  it.each([0, 1, 500, 1000])('goes on from offset %s and ends with the receipt (T33)', async resumeOffset => {
    covers('T33');
    let flash: Uint8Array = bytes.slice(0, resumeOffset);
    const receipt = await transferTo({
      fwBegin: request => {
        expect(request).toMatchObject({ sizeBytes: 1000, sha256: sha256(bytes) });
        return { resumeOffset };
      },
      fwChunk: ({ offset, data }) => {
        expect(offset).toBe(flash.length);
        flash = concat(flash, data);
        return { nextOffset: flash.length };
      },
      fwEnd: ({ sha256: hash }) => {
        expect(hash).toEqual(sha256(flash));
        return { receipt: fill(9, 10) };
      },
    });
    expect(receipt).toEqual(fill(9, 10));
    expect(flash).toEqual(bytes);
  });

  it.each(['middle', 'end'] as const)('ends without the last word when it is called back in the %s (I18)', async when => {
    covers('I18');
    let [ended, taken] = [false, 0];
    const handlers: DevAuthHandlers = {
      fwBegin: () => ({ resumeOffset: 0 }),
      fwChunk: ({ data }) => {
        taken += data.length;
        return { nextOffset: taken };
      },
      fwEnd: () => {
        ended = true;
        return { receipt: fill(9, 10) };
      },
    };
    const look = async (at: string): Promise<void> => {
      if (at === when) throw new NusecError('STATE', 'stopped');
    };
    const sent = sendFirmware(hostOf(handlers), { image: 2, version, securityCounter: 1, bytes }, 50, look);
    await expect(sent).rejects.toThrow(expect.objectContaining({ code: 'STATE' }));
    expect([ended, taken < bytes.length]).toEqual([false, when === 'middle']);
  });

  it('never makes a piece that a message could not hold', () => {
    expect([10, 256, 4096, 0xffff].map(pieceBytesFor)).toEqual([1, 192, 4032, 4096]);
  });

  it('stops when the device stands elsewhere', async () => {
    const malformed = expect.objectContaining({ code: 'DEVAUTH_MALFORMED' });
    await expect(transferTo({ fwBegin: () => ({ resumeOffset: 1001 }) })).rejects.toThrow(malformed);
    const skipping = { fwBegin: () => ({ resumeOffset: 0 }), fwChunk: () => ({ nextOffset: 5 }) };
    await expect(transferTo(skipping)).rejects.toThrow(malformed);
  });
});
