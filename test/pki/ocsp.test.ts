import { randomBytes } from 'node:crypto';
import { OCSPRequest, type Request } from 'pkijs';
import { beforeAll, describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../src/bytes.ts';
import { tags } from '../../src/pki/der.ts';
import { context, octetString, oid, sequence, tlv } from '../../src/pki/derWriter.ts';
import { extension } from '../../src/pki/extensions.ts';
import { maxOcspQuestions, maxOcspRequestBytes, readOcspRequest } from '../../src/pki/ocspRequest.ts';
import { certIdOf, issuerHashes } from '../../src/pki/ocspResponse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { covers } from '../support/covers.ts';
import { type Authority, codeOf, makeDevice, makeIca, makeRoot, run } from './support.ts';

let ica: Authority;
beforeAll(async () => {
  ica = await makeIca(await makeRoot());
});

const serialHex = '41'.repeat(16);
const question = () => sequence(certIdOf(ica.certificate, fromHex(serialHex)));
const requestOf = (questions: readonly Uint8Array[], ...extensions: readonly Uint8Array[]) =>
  sequence(sequence(sequence(...questions), ...(extensions.length > 0 ? [context(2, sequence(...extensions))] : [])));
const nonce = (bytes: number) => extension('ocspNonce', false, octetString(randomBytes(bytes)));

describe('an OCSP request (RFC 6960 §4.1)', () => {
  it('of openssl is read, with both hashes and with nonce', async () => {
    const files = { 'ica.pem': toPem('CERTIFICATE', ica.der), 'leaf.pem': toPem('CERTIFICATE', await makeDevice(ica)) };
    for (const hash of ['sha1', 'sha256'] as const) {
      const args = ['ocsp', `-${hash}`, '-issuer', 'ica.pem', '-cert', 'leaf.pem', '-reqout', '/dev/stdout', '-nonce'];
      const output = run('sh', ['-c', `openssl ${args.join(' ')} | openssl base64 -A`], files);
      const { questions, nonce: found } = readOcspRequest(new Uint8Array(Buffer.from(output, 'base64')));
      const { name, key } = issuerHashes(ica.certificate, hash);
      expect(questions).toMatchObject([{ hash, issuerNameHash: name, issuerKeyHash: key }]);
      expect(found?.length).toBe(16);
    }
  });

  it('of GnuTLS is read', async () => {
    const files = { 'ica.pem': toPem('CERTIFICATE', ica.der), 'leaf.pem': toPem('CERTIFICATE', await makeDevice(ica)) };
    const args = 'ocsptool -q --load-issuer ica.pem --load-cert leaf.pem --nonce --outfile request.der';
    const output = run('sh', ['-c', `${args} 2>/dev/null && openssl base64 -A -in request.der`], files);
    expect(readOcspRequest(new Uint8Array(Buffer.from(output, 'base64'))).questions).toHaveLength(1);
  });

  it('has 1 to 16 questions, a nonce of 1 to 128 bytes, and at most 4096 bytes', () => {
    expect(readOcspRequest(requestOf(Array.from({ length: maxOcspQuestions }, question))).questions).toHaveLength(maxOcspQuestions);
    expect(readOcspRequest(requestOf([question()], nonce(128))).nonce).toHaveLength(128);
    const refused = [
      requestOf([]),
      requestOf(Array.from({ length: maxOcspQuestions + 1 }, question)),
      requestOf([question()], nonce(0)),
      requestOf([question()], nonce(129)),
      requestOf([question()], nonce(16), nonce(16)),
      requestOf([question()], extension('keyUsage', true, octetString(new Uint8Array(1)))),
      new Uint8Array(maxOcspRequestBytes + 1),
      sequence(sequence(context(0, Uint8Array.of(2, 1, 0)), sequence(question()))),
    ];
    for (const der of refused) expect(() => readOcspRequest(der)).toThrow(expect.objectContaining({ code: 'OCSP_MALFORMED' }));
  });

  it('may carry what is not looked at: a name, a signature, extensions that are not critical', () => {
    const unknown = extension('keyUsage', false, octetString(new Uint8Array(1)));
    const name = context(1, tlv(0x86, [Buffer.from('http://asker')]));
    const tbs = sequence(name, sequence(sequence(certIdOf(ica.certificate, fromHex(serialHex)), context(0, sequence(unknown)))));
    expect(readOcspRequest(sequence(tbs, context(0, sequence()))).questions[0]?.serialHex).toBe(serialHex);
    const md5 = sequence(
      sequence(oid('1.2.840.113549.2.5'), tlv(tags.null, [])),
      octetString(new Uint8Array(16)),
      octetString(new Uint8Array(16)),
      Uint8Array.of(2, 1, 5),
    );
    expect(readOcspRequest(requestOf([sequence(md5)])).questions[0]).toMatchObject({ hash: undefined, serialHex: '05' });
  });

  it('is read as pkijs reads it or refused, whatever byte is changed, cut or added (T27)', async () => {
    covers('T27');
    const good = requestOf([question(), question()], nonce(16));
    let read = 0;
    for (let round = 0; round < 20_000; round += 1) {
      const bad = mutate(good, round);
      const result = await codeOf(() => readOcspRequest(bad));
      if (typeof result === 'string') expect(result).toBe('OCSP_MALFORMED');
      else {
        read += 1;
        if (read % 20 === 0)
          expect(serialsByPkijs(bad)).toEqual((result as ReturnType<typeof readOcspRequest>).questions.map(each => each.serialHex));
      }
    }
    expect(read).toBeGreaterThan(1000);
  });
});

/** One byte changed, or the end cut, or a byte put in. */
function mutate(good: Uint8Array, round: number): Uint8Array {
  const at = round % good.length;
  const value = (round * 31 + (round >> 7)) & 0xff;
  if (round % 10 === 8) return good.slice(0, at);
  if (round % 10 === 9) return Uint8Array.from([...good.slice(0, at), value, ...good.slice(at)]);
  const bad = good.slice();
  bad[at] = value;
  return bad;
}

const serialsByPkijs = (der: Uint8Array): string[] =>
  OCSPRequest.fromBER(Uint8Array.from(der)).tbsRequest.requestList.map((request: Request) =>
    toHex(request.reqCert.serialNumber.valueBlock.valueHexView).replace(/^00(?=[89a-f])/, ''),
  );
