import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Builds the DevAuth code for the QEMU board, once for each state of its sources. */

export type Firmware = {
  /** ELF that a blank board starts with. */
  readonly bootRom: string;
  /** Bytes for SRAM. */
  readonly devAuth: string;
};

const source = fileURLToPath(new URL('../../firmware/devauth/', import.meta.url));
/** Program → the Debian package that brings it. */
const tools = { 'arm-none-eabi-gcc': 'gcc-arm-none-eabi', 'qemu-system-arm': 'qemu-system-arm', openocd: 'openocd', socat: 'socat' };

/** @returns what this machine lacks for a board in QEMU, as a sentence for people */
export function whyNoBoard(): string | undefined {
  const missing = Object.entries(tools).filter(([program]) => !isOnPath(program));
  if (missing.length > 0) return `not installed: ${missing.map(([program, name]) => `${program} (Debian package ${name})`).join(', ')}`;
  return 'folder' in fetchLibrary() ? undefined : 'the source of BearSSL could not be fetched (firmware/devauth/fetch.sh)';
}

/** @throws Error with what the compiler says */
export function buildFirmware(): Firmware {
  const folder = build('an505');
  return { bootRom: join(folder, 'bootrom.elf'), devAuth: join(folder, 'devauth.bin') };
}

/** @returns the DevAuth code as a program of this machine, under sanitizers; undefined without a C compiler that has them, or without BearSSL */
export const buildHostProgram = (): string | undefined =>
  hasSanitizers() && 'folder' in fetchLibrary() ? join(build('host'), 'devauth') : undefined;

const hasSanitizers = (): boolean => {
  const program = '#include <stdio.h>\nint main(void) { return 0; }';
  const options = ['-fsanitize=address,undefined', '-x', 'c', '-', '-o', '/dev/null'];
  return isOnPath('cc') && spawnSync('cc', options, { input: program }).status === 0;
};

function build(board: 'an505' | 'host'): string {
  const library = fetchLibrary();
  if (!('folder' in library)) throw new Error(library.reason);
  const folder = join(dirname(library.folder), `devauth-${board}-${hashOfSources()}`);
  if (!existsSync(folder)) {
    const work = mkdtempSync(`${folder}.`);
    const { status, stdout, stderr } = spawnSync(join(source, 'build.sh'), [library.folder, work, board], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`firmware/devauth/build.sh: ${stdout}${stderr}`);
    // Another process may have built the same meanwhile.
    if (existsSync(folder)) rmSync(work, { recursive: true });
    else renameSync(work, folder);
  }
  return folder;
}

function fetchLibrary(): { readonly folder: string } | { readonly reason: string } {
  const { status, stdout, stderr } = spawnSync(join(source, 'fetch.sh'), { encoding: 'utf8' });
  return status === 0 ? { folder: stdout.trim() } : { reason: stderr };
}

function hashOfSources(): string {
  const hash = createHash('sha256');
  for (const file of globSync('**/*.{c,h,S,ld,sh}', { cwd: source }).sort()) hash.update(file).update(readFileSync(join(source, file)));
  return hash.digest('hex').slice(0, 16);
}

const isOnPath = (program: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some(folder => folder !== '' && existsSync(join(folder, program)));
