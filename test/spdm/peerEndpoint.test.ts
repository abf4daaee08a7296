import { describe, expect, it } from 'vitest';
import { deviceClasses } from '../../src/cli/spdm/inventory.ts';
import { capability, responseCode, type SpdmVersion } from '../../src/spdm/constants.ts';
import { type DeviceClass, decodeDeviceClasses, encodeGetEndpointInfo } from '../../src/spdm/messages/endpointInfo.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { answerEncapsulated } from '../../src/spdm/requester/encapsulated.ts';
import { requesterFlags } from '../../src/spdm/requester/identify.ts';
import { answerQuestions } from '../../src/spdm/requester/requests.ts';
import { runSessionSetup } from '../../src/spdm/requester/run.ts';
import { deviceFlags, type ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { countingRandom, linkTo, realResponder, requesterSlot, someNonce, trustLeaf } from './fixtures.ts';

/** The responder asks what kind of device the requester is (DSP0274 1.3, encapsulated GET_ENDPOINT_INFO): both roles against each other. */

const { encapsulated, mutualAuthentication, endpointInfoSigned, endpointInfoUnsigned } = capability;
const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
const code = (name: string) => expect.objectContaining({ code: name });
const endpoint = { info: deviceClasses(), slots: [requesterSlot()], randomBytes: countingRandom('endpoint') };

type Case = {
  readonly version?: SpdmVersion;
  readonly flag?: number;
  readonly mutual?: boolean;
  readonly options?: Partial<ResponderOptions>;
};

async function inSession({ version = 0x13, flag = endpointInfoSigned, mutual = false, options }: Case = {}) {
  const seen: (readonly [readonly DeviceClass[], boolean])[] = [];
  const flags = encapsulated | (mutual ? mutualAuthentication : 0);
  const responder = realResponder({
    versions: [version],
    capabilities: { ...sizes, flags: deviceFlags | flags },
    onPeerEndpoint: (classes, isSigned) => seen.push([classes, isSigned]),
    ...(mutual && { mutualAuthentication: { how: 'encapsulated', slot: 0, required: true, trust: trustLeaf } as const }),
    ...options,
  });
  const link = linkTo(responder);
  const { session, connection } = await runSessionSetup(
    {
      nonce: someNonce,
      trust: trustLeaf,
      randomBytes: countingRandom('requester'),
      versions: [version],
      capabilities: { ...sizes, flags: requesterFlags | flags | flag },
      ownSlots: [requesterSlot()],
    },
    link,
  );
  return { seen, link, session, asking: { ask: sessionAsk(session, link), connection } };
}

describe('what kind of device a requester is (DSP0274 1.3)', () => {
  it.each([0x13, 0x14] as const)('version %i: is said once in a session, signed by a requester that has proved itself', async version => {
    for (const [mutual, flag, isSigned] of [
      [true, endpointInfoSigned, true],
      [true, endpointInfoUnsigned, false],
      [false, endpointInfoSigned, false],
    ] as const) {
      const { seen, session, asking } = await inSession({ version, mutual, flag });
      expect(await answerQuestions(asking, session, undefined, endpoint)).toBe(1);
      expect(await answerQuestions(asking, session, undefined, endpoint)).toBe(0);
      expect(seen).toEqual([[decodeDeviceClasses(endpoint.info), isSigned]]);
    }
  });

  it('is not asked of a requester that cannot say it, nor where nobody wants to know, nor before 1.3', async () => {
    for (const given of [{ flag: 0 }, { options: { onPeerEndpoint: undefined } as never }, { version: 0x12 as const }]) {
      const { seen, session, asking } = await inSession(given);
      expect(await answerQuestions(asking, session, undefined, endpoint)).toBe(0);
      expect(seen).toEqual([]);
    }
  });

  it('a requester without an answer says nothing of itself, and the session goes on', async () => {
    const { seen, session, asking } = await inSession();
    expect(await answerQuestions(asking, session)).toBe(1);
    expect(seen).toEqual([]);
    expect(await answerQuestions(asking, session)).toBe(0);
  });

  it('a changed byte, or another key, is no answer: nothing is told, and the session goes on', async () => {
    for (const wrong of ['signature', 'info', 'key'] as const) {
      const { seen, session, asking } = await inSession({ mutual: true });
      const broken = {
        ...endpoint,
        slots: [
          {
            ...requesterSlot(),
            sign: async (input: Uint8Array) => {
              const signature = await requesterSlot().sign(
                wrong === 'info' ? input.map((byte, i) => (i === 131 ? byte ^ 1 : byte)) : input,
                'sha256',
              );
              return wrong === 'key'
                ? new Uint8Array(64).fill(7)
                : wrong === 'signature'
                  ? signature.map((byte, i) => (i === 9 ? byte ^ 1 : byte))
                  : signature;
            },
          },
        ],
      };
      await expect(answerQuestions(asking, session, undefined, broken)).rejects.toEqual(code('SPDM_BUSY'));
      expect(seen).toEqual([]);
      expect(await answerQuestions(asking, session, undefined, endpoint)).toBe(0);
    }
  });

  it('the requester signs with the slot it is asked for, and refuses what it has not', async () => {
    const { asking } = await inSession({ mutual: true });
    const { connection } = asking;
    const nonce = new Uint8Array(32);
    const answer = async (request: Uint8Array, own: Parameters<typeof answerEncapsulated>[0] = { connection, slots: [], endpoint }) => {
      const [, answered, param1] = await answerEncapsulated(own, request);
      return [answered, param1];
    };
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 1, signed: { slot: 0, nonce } }))).toEqual([responseCode.endpointInfo, 0]);
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 1 }))).toEqual([responseCode.endpointInfo, 0]);
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 1, signed: { slot: 3, nonce } }))).toEqual([0x7f, 1]);
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 2 }))).toEqual([0x7f, 1]);
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 1 }), { connection, slots: [] })).toEqual([0x7f, 7]);
    const keyPair = { keyPairId: 1, certificateInfo: 1, keyUsage: 7 };
    const many = { ...connection, algorithms: { ...connection.algorithms!, requesterMultiKey: true } };
    const other = { connection: many, slots: [], endpoint: { ...endpoint, slots: [{ ...requesterSlot(), keyPair }] } };
    expect(await answer(encodeGetEndpointInfo(0x13, { subCode: 1, signed: { slot: 0, nonce } }), other)).toEqual([0x7f, 1]);
  });
});
