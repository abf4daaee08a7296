import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/** A witness as the specifications have it (C2SP tlog-witness and tlog-cosignature), a process of its own that has no code of the product.
 *
 *    witnessDouble.ts NAME STATE-FILE LOG-VERIFIER-KEY MODE [PORT]
 *
 *  It remembers key and checkpoint in the state file. MODE is `honest`, or what it does wrong: `otherKey`, `future`, `silent`, `busy`, `endless`.
 *  First line: port and key as JSON. */

const [name = '', stateFile = '', logKey = '', mode = 'honest', port = '0'] = process.argv.slice(2);
const [origin = '', logKeyId = '', logKeyBase64 = ''] = logKey.split('+').length > 3 ? splitKey(logKey) : logKey.split('+');
const logPublicKey = createPublicKey({ key: Buffer.from(logKeyBase64, 'base64').subarray(1), format: 'der', type: 'spki' });

/** The base64 of a key may have + in it. */
function splitKey(key: string): string[] {
  const [first = '', second = '', ...rest] = key.split('+');
  return [first, second, rest.join('+')];
}

type State = { key: string; size: number; root: string };
const newKey = (): string => generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
const state: State = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')) : { key: newKey(), size: 0, root: '' };
const persist = (): void => writeFileSync(stateFile, JSON.stringify(state));
persist();
const privateKey = createPrivateKey(mode === 'otherKey' ? newKey() : state.key);
const publicKey = createPublicKey(createPrivateKey(state.key)).export({ format: 'der', type: 'spki' }).subarray(-32);
const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest();
const keyId = sha256(Buffer.from(`${name}\n`), Buffer.of(4), publicKey).subarray(0, 4);
const verifierKey = `${name}+${keyId.toString('hex')}+${Buffer.concat([Buffer.of(4), publicKey]).toString('base64')}`;

type Refusal = { status: number; body?: string; type?: string };
const refuse = (status: number, body = '', type = 'text/plain'): never => {
  throw { status, body, type } satisfies Refusal;
};

/** RFC 6962 §2.1.2, by rebuilding both roots from the proof, from the top down. */
function provesConsistency(first: number, firstRoot: Buffer, second: number, secondRoot: Buffer, proof: Buffer[]): boolean {
  const left = [...proof];
  const node = (a: Buffer, b: Buffer): Buffer => sha256(Buffer.of(1), a, b);
  /** Roots of the old and the new tree below a node, whose old part is complete or not. */
  const walk = (m: number, n: number, whole: boolean): [Buffer, Buffer] => {
    if (m === n) {
      const root = whole ? firstRoot : left.shift();
      if (root === undefined) throw new Error('the proof is too short');
      return [root, root];
    }
    let k = 1;
    while (k * 2 < n) k *= 2;
    if (m <= k) {
      const [oldLeft, newLeft] = walk(m, k, whole);
      const right = left.shift();
      if (right === undefined) throw new Error('the proof is too short');
      return [oldLeft, node(newLeft, right)];
    }
    const [oldRight, newRight] = walk(m - k, n - k, false);
    const both = left.shift();
    if (both === undefined) throw new Error('the proof is too short');
    return [node(both, oldRight), node(both, newRight)];
  };
  try {
    const [oldRoot, newRoot] = walk(first, second, true);
    return left.length === 0 && oldRoot.equals(firstRoot) && newRoot.equals(secondRoot);
  } catch {
    return false;
  }
}

function addCheckpoint(body: string): string {
  const split = body.indexOf('\n\n');
  const [oldLine = '', ...proofLines] = body.slice(0, split).split('\n');
  const note = body.slice(split + 2);
  const end = note.lastIndexOf('\n\n');
  const text = note.slice(0, end + 1);
  const [noteOrigin, sizeText = '', rootText = ''] = text.split('\n');
  const oldText = /^old (0|[1-9]\d*)$/.exec(oldLine)?.[1];
  if (split < 0 || end < 0 || oldText === undefined || proofLines.length > 63) return refuse(400);
  if (noteOrigin !== origin) return refuse(404);
  const signed = note
    .slice(end + 2)
    .split('\n')
    .map(line => line.split(' '))
    .filter(([, by, value = '']) => by === origin && Buffer.from(value, 'base64').toString('hex', 0, 4) === logKeyId)
    .some(([, , value = '']) => verify('sha256', Buffer.from(text), logPublicKey, Buffer.from(value, 'base64').subarray(4)));
  if (!signed) return refuse(403);
  const [oldSize, size, root] = [Number(oldText), Number(sizeText), Buffer.from(rootText, 'base64')];
  if (oldSize > size) return refuse(400);
  if (oldSize !== state.size) return refuse(409, `${state.size}\n`, 'text/x.tlog.size');
  const proof = proofLines.map(line => Buffer.from(line, 'base64'));
  if (oldSize === size && oldSize > 0 && state.root !== rootText) return refuse(409);
  const holds =
    oldSize === 0 || oldSize === size
      ? proof.length === 0
      : provesConsistency(oldSize, Buffer.from(state.root, 'base64'), size, root, proof);
  if (!holds) return refuse(422);
  Object.assign(state, { size, root: rootText });
  persist();
  const seconds = BigInt(Math.floor(Date.now() / 1000) + (mode === 'future' ? 86_400 : 0));
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(seconds);
  const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), privateKey);
  return `— ${name} ${Buffer.concat([keyId, time, signature]).toString('base64')}\n`;
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (mode === 'silent') return;
  if (mode === 'busy') return void response.writeHead(503).end();
  if (mode === 'endless') {
    response.writeHead(200);
    const timer = setInterval(() => response.write('x'.repeat(4096)), 1);
    response.on('close', () => clearInterval(timer));
    return;
  }
  try {
    const isRight = request.method === 'POST' && request.url === '/w/add-checkpoint';
    const lines = isRight ? addCheckpoint(body) : refuse(404);
    response.writeHead(200).end(lines);
  } catch (error) {
    const { status = 500, body: text = '', type = 'text/plain' } = error as Refusal;
    response.writeHead(status, { 'Content-Type': type }).end(text);
  }
}

const server = createServer((request, response) => void answer(request, response));
server.listen(Number(port), '127.0.0.1', () => {
  const { port: taken } = server.address() as { port: number };
  process.stdout.write(`${JSON.stringify({ port: taken, key: verifierKey })}\n`);
});
