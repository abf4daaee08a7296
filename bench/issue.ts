import { randomBytes, sign, verify } from 'node:crypto';
import { pointOf } from '../src/ecKey.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../src/pki/csr.ts';
import { issueOne, makeAuthority, makePair, serialBytes, subject } from './parts/authority.ts';
import { interleave, perSecond, type Report } from './parts/measure.ts';

/** Certificates from requests, in process: judging the request and signing, against the bare verification and signature in it. */

const issueRounds = 101;
const certificatesPerRound = 50;
const warmUpRounds = 40;

export async function run(report: Report): Promise<void> {
  const authority = makePair();
  const issuer = await makeAuthority(authority);
  const device = makePair();
  const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: pointOf(device.spki) });
  const signature = sign('sha256', cri, device.privateKey);
  const csr = assembleCsr(cri, signature);
  const issueAll = async () => {
    const startMs = performance.now();
    const serials = randomBytes(certificatesPerRound * serialBytes);
    for (let i = 0; i < certificatesPerRound; i += 1) {
      await issueOne(csr, serials.subarray(i * serialBytes, (i + 1) * serialBytes), authority.signer, issuer);
    }
    return perSecond(certificatesPerRound, startMs);
  };
  const verifyAndSign = () => {
    const startMs = performance.now();
    for (let i = 0; i < certificatesPerRound; i += 1) {
      verify('sha256', cri, device.publicKey, signature);
      sign('sha256', cri, authority.privateKey);
    }
    return perSecond(certificatesPerRound, startMs);
  };
  for (let i = 0; i < warmUpRounds; i += 1) await issueAll();
  const measured = await interleave(issueRounds, issueAll, verifyAndSign);
  report({ figure: 'certificates from CSRs', unit: '1/s', boundWhat: 'bare verify + sign', ...measured });
}
