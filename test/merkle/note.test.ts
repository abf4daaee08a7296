import { generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkpointText, readCheckpoint } from '../../src/merkle/checkpoint.ts';
import { ecdsaKeyId, ecdsaNoteKey, formatNote, parseNote, verifiedBy } from '../../src/merkle/note.ts';

const text = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n';
/** The example of tlog-cosignature. */
const cosigned = `${text}
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`;
const code = (wanted: string) => expect.objectContaining({ code: wanted });

describe('a signed note', () => {
  test('is text, an empty line and signatures, as the specification shows it', () => {
    const note = parseNote(cosigned);
    expect(note.text).toBe(text);
    expect(note.signatures.map(({ name, keyIdHex, signature }) => [name, keyIdHex, signature.length])).toEqual([
      ['example.com/behind-the-sofa', '033de0ae', 64 + 4 - 4],
      ['witness.example.com/w1', '8d66cf3f', 8 + 64],
    ]);
    expect(formatNote(note)).toBe(cosigned);
  });

  test('may have empty lines in its text: the last one ends it', () => {
    const quasimodo = 'Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n';
    expect(parseNote(`${quasimodo}\n— quasimodo.example/salvatore NnugSzTjtVAewIS+\n`).text).toBe(quasimodo);
  });

  test.each([
    ['nothing', ''],
    ['no signatures', `${text}\n`],
    ['no empty line', `${text}— name AAAAAAAA\n`],
    ['no newline at the end', cosigned.slice(0, -1)],
    ['a control character', cosigned.replace('20852163', '2085\t2163')],
    ['a key name with a plus', cosigned.replace('— example.com/', '— example+com/')],
    ['another dash', cosigned.replace('— example', '- example')],
    ['base64 in a second spelling', cosigned.replace('cTOAYQ8=', 'cTOAYQ9=')],
    ['a key id and no signature', `${text}\n— name AAAAAA==\n`],
    ['too many signatures', `${text}\n${'— name AAAAAAAA\n'.repeat(65)}`],
    ['too large', `${'x'.repeat(200_000)}\n\n— name AAAAAAAA\n`],
  ])('with %s is refused', (_, note) => {
    expect(() => parseNote(note)).toThrow(code('CHECKPOINT_MALFORMED'));
  });

  test('is verified by the keys that are known; others are passed over', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
    const key = ecdsaNoteKey('log.example/1', spki);
    const signature = sign('sha256', Buffer.from(text), privateKey);
    const signed = { name: 'log.example/1', keyIdHex: ecdsaKeyId(spki), signature: new Uint8Array(signature) };
    const note = parseNote(formatNote({ text, signatures: [...parseNote(cosigned).signatures, signed] }));
    expect(verifiedBy(note, [key]).map(found => found.key.name)).toEqual(['log.example/1']);
    expect(verifiedBy(note, [{ ...key, name: 'log.example/2' }])).toEqual([]);
    expect(verifiedBy(note, [{ ...key, keyIdHex: '00000000' }])).toEqual([]);
    expect(() => verifiedBy({ ...note, text: text.replace('20852163', '20852164') }, [key])).toThrow(code('CHECKPOINT_REFUSED'));
  });
});

describe('a checkpoint', () => {
  const hashes = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(bytes => Buffer.from(bytes).toString('hex'));
  const checkpoints = fc.record(
    {
      origin: fc.constant('log.example/1'),
      size: fc.maxSafeNat(),
      root: hashes,
      time: fc.constant('2026-01-02T03:04:05.678Z'),
      heads: hashes,
    },
    { requiredKeys: ['origin', 'size', 'root'] },
  );

  test('is read as it was written', () => {
    expect(readCheckpoint(text)).toMatchObject({ origin: 'example.com/behind-the-sofa', size: 20_852_163 });
    fc.assert(
      fc.property(checkpoints, checkpoint => {
        expect(readCheckpoint(checkpointText(checkpoint))).toEqual(checkpoint);
      }),
    );
  });

  test('with lines that are not known is read all the same', () => {
    expect(readCheckpoint(`${text}unknown extension\n`).size).toBe(20_852_163);
  });

  test.each([
    ['no origin', text.replace('example.com/behind-the-sofa', '')],
    ['a size with a leading zero', text.replace('2085', '02085')],
    ['a size that is no number', text.replace('20852163', '-1')],
    ['a size beyond what is safe', text.replace('20852163', '9007199254740993')],
    ['a root of 31 bytes', text.replace('CsUY', '')],
    ['an empty line', `${text}\n`],
    ['no newline at the end', text.slice(0, -1)],
  ])('with %s is refused', (_, wrong) => {
    expect(() => readCheckpoint(wrong)).toThrow(code('CHECKPOINT_MALFORMED'));
  });
});
