import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { leaves, processEntries, pureRooms, rooms } from './rooms.ts';

const root = join(import.meta.dirname, '..');
const files = globSync('{src,gateway-device}/**/*.ts', { cwd: root }).filter(file => !file.endsWith('.d.ts'));
const specifiers = /(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g;
const importsOf = (file: string): string[] =>
  [...readFileSync(join(root, file), 'utf8').matchAll(specifiers)].map(([, specifier]) => specifier ?? '');

const isLeaf = (file: string): boolean => leaves.some(leaf => leaf === file);
const roomOf = (file: string): string | undefined =>
  Object.keys(rooms)
    .filter(room => file === room || file.startsWith(`${room}/`))
    .toSorted((a, b) => b.length - a.length)[0];

const effectModules =
  /^(node:(fs|fs\/promises|net|tls|http|https|http2|dgram|child_process|worker_threads|timers|timers\/promises)|hono|@hono\/.*|hono\/.*|aedes|mqtt|better-sqlite3|kysely|pino|serialport)$/;

describe('rooms', () => {
  it('every file of src and gateway-device belongs to a room or is a leaf', () => {
    expect(files.filter(file => !isLeaf(file) && roomOf(file) === undefined)).toEqual([]);
  });

  it('a room imports only leaves and the rooms that the table names', () => {
    const refused = files.flatMap(file => {
      const own = roomOf(file);
      return importsOf(file)
        .filter(specifier => specifier.startsWith('.'))
        .map(specifier => normalize(join(dirname(file), specifier)))
        .filter(target => target.startsWith('src/') || target.startsWith('gateway-device/'))
        .filter(target => {
          const other = roomOf(target);
          const allowed = other === own || (other !== undefined && rooms[own ?? '']?.includes(other) === true);
          return !isLeaf(target) && (isLeaf(file) || !allowed);
        })
        .map(target => `${file} imports ${target}`);
    });
    expect(refused).toEqual([]);
  });

  it('the table has no circle: an order exists in which each room comes after all that it may import', () => {
    const placed = new Set<string>();
    let left = Object.keys(rooms);
    while (left.length > 0) {
      const next = left.filter(room => rooms[room]?.every(other => placed.has(other)));
      expect(next, `a circle among ${left.join(', ')}`).not.toEqual([]);
      for (const room of next) placed.add(room);
      left = left.filter(room => !placed.has(room));
    }
  });

  it('no files import each other in a circle, types included', () => {
    const targets = new Map(
      files.map(file => [
        file,
        importsOf(file)
          .filter(specifier => specifier.startsWith('.'))
          .map(specifier => normalize(join(dirname(file), specifier))),
      ]),
    );
    // What imports nothing that is left goes; what stays is in a circle, or leads into one.
    let left = new Set(files);
    for (let size = Number.POSITIVE_INFINITY; left.size < size; ) {
      size = left.size;
      left = new Set([...left].filter(file => targets.get(file)?.some(target => left.has(target))));
    }
    expect([...left]).toEqual([]);
  });

  it('the table names only rooms that exist', () => {
    const unknown = Object.entries(rooms)
      .flatMap(([room, others]) => [room, ...others])
      .filter(room => !(room in rooms));
    expect(unknown).toEqual([]);
    expect(Object.keys(rooms).filter(room => !files.some(file => roomOf(file) === room))).toEqual([]);
  });

  it('no file imports one that a process begins with', () => {
    const refused = files.flatMap(file =>
      importsOf(file)
        .map(specifier => normalize(join(dirname(file), specifier)))
        .filter(target => processEntries.some(entry => entry === target))
        .map(target => `${file} imports ${target}`),
    );
    expect(refused).toEqual([]);
  });

  it('only a file that a process begins with acts on the process as it is loaded', () => {
    const acts = /^(?!(?:export |import |const |type |function | |\/|\*|\})).*\b(?:process\.(?:on|once|exit|argv)|\.parse(?:Async)?\(\))/m;
    const found = files.filter(file => acts.test(readFileSync(join(root, file), 'utf8')));
    expect(found.filter(file => !processEntries.some(entry => entry === file))).toEqual([]);
    expect(found).toContain('src/keystore/pkcs11/tokenProcess.ts');
  });

  it('services parse no text of a request: schemas are at the edges and where a file is read', () => {
    const readers = ['backup/manifest.ts', 'identity/tlsFile.ts', 'proof/exportCheck.ts', 'revocation/markFile.ts'].map(
      file => `src/services/${file}`,
    );
    const parses = /\bfrom 'zod'|\bBuffer\.from\([^)]*'(?:hex|base64|base64url)'|\bJSON\.parse\(.*\b(?:body|request)\b/;
    const services = files.filter(file => file.startsWith('src/services/') || file.startsWith('src/domain/'));
    expect(services.filter(file => parses.test(readFileSync(join(root, file), 'utf8'))).toSorted()).toEqual(readers);
  });

  it('pure rooms know no socket, file, timer or framework, and the domain no node module at all', () => {
    const refused = files.flatMap(file => {
      const isPure = pureRooms.some(room => file.startsWith(`${room}/`));
      const isRefused = (specifier: string): boolean =>
        effectModules.test(specifier) || (file.startsWith('src/domain/') && specifier.startsWith('node:'));
      return isPure
        ? importsOf(file)
            .filter(isRefused)
            .map(specifier => `${file} imports ${specifier}`)
        : [];
    });
    expect(refused).toEqual([]);
  });

  it('are in docs/architecture.md, with every leaf and every decider', () => {
    const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    const isNamed = (name: string): boolean => page.includes(`\`${name}\``) || page.includes(`\`${basename(name)}\``);
    const deciders = files.filter(
      file => /^src\/domain\//.test(file) && /^export const \w+: Decider</m.test(readFileSync(join(root, file), 'utf8')),
    );
    const listed = /one decider per aggregate: ([\w, ]+)/.exec(page)?.[1]?.trim().split(', ');
    expect(Object.keys(rooms).filter(room => !isNamed(room))).toEqual([]);
    expect(leaves.map(leaf => basename(leaf, '.ts')).filter(leaf => !isNamed(leaf))).toEqual([]);
    expect(listed).toEqual(deciders.map(file => basename(file, '.ts')).toSorted());
  });
});
