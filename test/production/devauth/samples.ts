import type { CommandName, DevAuthRequest, DevAuthResponse } from '../../../src/production/devauth/commands.ts';
import { fill, nonce, objId, uidA } from '../samples.ts';

type Samples = { readonly [N in CommandName]: { readonly request: DevAuthRequest<N>; readonly response: DevAuthResponse<N> } };

const version = { major: 1, minor: 2, revision: 3, build: 4 };

/** A valid request and response of every command. */
export const samples: Samples = {
  hello: {
    request: { version: 1, nonce },
    response: {
      version: 1,
      stage: 'bl2',
      uid: uidA,
      productId: 0x2354,
      lifeCycle: 'manufacture',
      debugState: 'open',
      otpMask: 3,
      firmwareVersion: version,
      securityCounter: 5,
      maxBodyBytes: 4096,
      nonce: fill(0xee),
      objId,
    },
  },
  keygen: {
    request: { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 },
    response: { publicKey: fill(4, 64), keySlot: 0, entropyBits: 384 },
  },
  signCri: { request: { cri: fill(0x30, 200) }, response: { signature: fill(5, 64) } },
  put: {
    request: { type: 'deviceCertificate', offset: 0, totalBytes: 800, data: fill(0x30, 400), sha256: fill(6, 32) },
    response: { nextOffset: 400 },
  },
  otp: { request: { slot: 2, kind: 'hash', value: fill(7, 32) }, response: { sha256: fill(8, 32) } },
  fwBegin: {
    request: { image: 2, sizeBytes: 196_608, sha256: fill(9, 32), version, securityCounter: 5 },
    response: { resumeOffset: 0 },
  },
  fwChunk: { request: { offset: 0, data: fill(1, 1024) }, response: { nextOffset: 1024 } },
  fwEnd: { request: { sha256: fill(9, 32) }, response: { receipt: fill(0xd2, 300) } },
  lock: { request: { debugState: 'locked', lifeCycle: 'deployed' }, response: { debugState: 'locked', lifeCycle: 'deployed' } },
  receipt: { request: { nonce }, response: { receipt: fill(0xd2, 300) } },
  reset: { request: { mode: 'normal' }, response: {} },
  wipe: { request: { order: fill(0xd2, 300) }, response: { receipt: fill(0xd2, 300) } },
  debugUnlock: { request: { order: fill(0xd2, 300), password: fill(2, 32) }, response: { debugState: 'unlocked' } },
  attest: { request: { nonce: fill(9, 32) }, response: { token: fill(0xd2, 300) } },
};

export const names = Object.keys(samples) as CommandName[];
