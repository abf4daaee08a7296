// Makes a fresh machine ready: npm packages, and for the tests the Debian packages they drive.
// Needs nothing but Node 20. Runs before `npm run demo` and `npm test`; does nothing when all is there. Two of them wait for each other: one lock
// for each checkout and one for the machine's packages.
// What only the Cortex-M board in QEMU needs (docs/cortex-m.md) may be missing: its tests are skipped then, and say why.
//   node scripts/setup.mjs demo|test|cortexM
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const purpose = process.argv[2] ?? 'demo';

/** Program on the PATH → the Debian package that brings it. */
const debianPackages = {
  demo: {},
  test: {
    openssl: 'openssl',
    certtool: 'gnutls-bin',
    mosquitto_pub: 'mosquitto-clients',
    chromium: 'chromium',
    curl: 'curl',
    socat: 'socat',
    ip: 'iproute2',
    faketime: 'faketime',
    'softhsm2-util': 'softhsm2',
    'pkcs11-tool': 'opensc',
    python3: 'python3',
    haproxy: 'haproxy',
    gcc: 'gcc',
    'pkg-config': 'pkg-config',
  },
};
/** Program → the Debian package that has it, and much more that would be started: the program alone is taken out of the package. */
const programsInPackages = { demo: {}, test: { promtool: 'prometheus' } };
/** On the PATH of `npm run` and `npx`. */
const ownPrograms = join(root, 'node_modules', '.bin');
/** For the Cortex-M board. */
const boardPackages = {
  'arm-none-eabi-gcc': 'gcc-arm-none-eabi',
  'qemu-system-arm': 'qemu-system-arm',
  openocd: 'openocd',
  socat: 'socat',
  xz: 'xz-utils',
};
/** Library, as pkg-config names it → the Debian package that brings it: of the example of a device in C. */
const libraries = { demo: {}, test: { libmosquitto: 'libmosquitto-dev', libcbor: 'libcbor-dev', libcrypto: 'libssl-dev' } };
/** Python module → the Debian package that brings it. */
const pythonModules = { demo: {}, test: { cryptography: 'python3-cryptography', 'paho.mqtt.client': 'python3-paho-mqtt' } };

const run = (command, args) =>
  spawnSync(command, args, { cwd: root, stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
const succeeds = (command, args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
const onPath = program => (process.env.PATH ?? '').split(delimiter).some(folder => existsSync(join(folder, program)));

/** Runs a command while nobody else holds the lock of this file. Without `flock` (util-linux) it runs all the same. */
const runAlone = (lock, sudo, command, args) => {
  const words = [...sudo, ...(onPath('flock') ? ['flock', lock] : []), command, ...args];
  return run(words[0], words.slice(1));
};

/** Whoever waited finds the work done: the same script looks again, this time with the lock. */
function waitForTurn() {
  if (process.env.NUSEC_SETUP_TURN === root || isInstalled() || !onPath('flock')) return;
  process.env.NUSEC_SETUP_TURN = root;
  process.exit(runAlone(join(root, 'package-lock.json'), [], process.execPath, [fileURLToPath(import.meta.url), purpose]).status ?? 1);
}

const stamp = join(root, 'node_modules', '.nusec-setup');
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex');
const isInstalled = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;

function installNpmPackages() {
  if (isInstalled()) return;
  console.log('setup: installing npm packages (npm ci)');
  if (run('npm', ['ci', '--no-audit', '--no-fund']).status !== 0) {
    console.error('setup: npm ci failed; check the network and the npm registry, then run the command again');
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
}

function installDebianPackages() {
  const missing = [
    ...Object.entries(debianPackages[purpose] ?? {}).filter(([program]) => !onPath(program)),
    ...Object.entries(libraries[purpose] ?? {}).filter(([library]) => !succeeds('pkg-config', ['--exists', library])),
    ...Object.entries(pythonModules[purpose] ?? {}).filter(([module]) => !succeeds('python3', ['-c', `import ${module}`])),
  ];
  if (missing.length === 0) return;
  const refusal = aptInstall(missing.map(([, name]) => name));
  if (refusal === undefined) return;
  console.error(`setup: ${refusal}; please install: ${missing.map(([program, name]) => `${program} (Debian package ${name})`).join(', ')}`);
  process.exit(1);
}

/** Debian's prometheus starts a server that listens on port 9090: only what is needed of it is unpacked, for this checkout. */
function unpackPrograms() {
  for (const [program, name] of Object.entries(programsInPackages[purpose] ?? {})) {
    if (onPath(program) || existsSync(join(ownPrograms, program))) continue;
    console.log(`setup: unpacking ${program} of Debian's package ${name}`);
    const unpack =
      'folder=$(mktemp -d) && cd "$folder" && { apt-get download -qq "$1" || { apt-get update -qq && apt-get download -qq "$1"; }; } && dpkg-deb --fsys-tarfile "$1"_*.deb | tar x -C "$3" --strip-components=3 "./usr/bin/$2"; status=$?; rm -rf "$folder"; exit $status';
    if (run('sh', ['-c', unpack, 'sh', name, program, ownPrograms]).status === 0) continue;
    console.error(`setup: ${program} could not be unpacked; please install it (Debian package ${name})`);
    process.exit(1);
  }
}

/** @returns why it did not work */
function aptInstall(names) {
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const mayInstall = onPath('apt-get') && (sudo.length === 0 || (onPath('sudo') && succeeds('sudo', ['-n', 'true'])));
  if (!mayInstall) return 'no right to install Debian packages';
  console.log(`setup: installing Debian packages ${names.join(' ')}`);
  const install = 'apt-get update -qq; apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "$@"';
  const { status } = runAlone('/run/lock/nusec-setup', sudo, 'sh', ['-c', install, 'sh', ...names]);
  return status === 0 ? undefined : 'apt-get could not install them';
}

/** Tool chain, emulator, probe, and the crypto library for the firmware of the board. */
function prepareBoard() {
  if (purpose === 'demo') return;
  const missing = Object.entries(boardPackages)
    .filter(([program]) => !onPath(program))
    .map(([, name]) => name);
  const refusal = missing.length === 0 ? undefined : aptInstall(missing);
  const lacks =
    refusal ?? (spawnSync(join(root, 'firmware/devauth/fetch.sh')).status === 0 ? undefined : 'the source of BearSSL could not be fetched');
  if (lacks !== undefined) console.log(`setup: ${lacks}; the Cortex-M board in QEMU is not there, and its tests are skipped`);
}

/** Vectors that the tests hold our cryptography against; their folder, of 43 MB, is kept for this user. */
function fetchVectors() {
  if (purpose === 'demo') return;
  if (spawnSync(join(root, 'scripts/wycheproof.sh')).status === 0) return;
  console.log("setup: Wycheproof's vectors could not be fetched from Debian, and their tests are skipped");
}

waitForTurn();
installNpmPackages();
installDebianPackages();
unpackPrograms();
prepareBoard();
fetchVectors();
