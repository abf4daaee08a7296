import { join } from 'node:path';
import { NusecError } from '../../src/errors.ts';
import { hourMs, type Seconds, secondsOf } from '../../src/times.ts';
import type { BoardEvent } from '../chip/board.ts';
import type { Chip } from '../chip/chip.ts';
import { fileVault } from '../chip/keyStore.ts';
import type { HttpClient } from '../link/httpClient.ts';
import { createServerTime, type ServerTime } from '../link/serverTime.ts';
import { readBundle, readIdentity } from './identity.ts';
import { type ImageCache, openImageCache } from './imageCache.ts';
import { agreeKek } from './kekAgreement.ts';
import { type KekStore, openKekStore } from './kekStore.ts';
import { type LedgerArchive, openLedgerArchive } from './ledgerBook.ts';
import { type Nvm, neededImages, openNvm } from './nvm.ts';
import { createServerApi, type ServerApi } from './serverApi.ts';

/** The parts of a programmer that every function of its works with. */
export type Core = {
  readonly chip: Chip;
  readonly nvm: Nvm;
  readonly keks: KekStore;
  readonly images: ImageCache;
  readonly archive: LedgerArchive;
  readonly uptimeSeconds: () => Seconds;
  /** A programmer has no clock that it trusts. */
  readonly serverTime: ServerTime;
  /** One at a time: two writers must not append to a ledger concurrently. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>;
  /** UIDs of the chips that runs are working on now: each has one run. */
  readonly working: Set<string>;
  /** Reports to the operator's terminal. Never a secret. */
  readonly tell: (event: BoardEvent) => void;
};

/** @param folder data folder of the programmer, shared with its chip */
export function openCore(chip: Chip, folder: string, tell: Core['tell'] = () => undefined): Core {
  const startedAt = performance.now();
  const nvm = openNvm(join(folder, 'programmer.json'));
  return {
    chip,
    nvm,
    keks: openKekStore(fileVault(join(folder, 'kek.json'))),
    images: openImageCache(join(folder, 'images'), () => neededImages(nvm.state().jobs)),
    archive: openLedgerArchive(folder),
    uptimeSeconds: () => secondsOf(performance.now() - startedAt),
    serverTime: serverTimeIn(nvm),
    alone: queue(),
    working: new Set(),
    tell,
  };
}

/** The newest time is kept, to the hour: a server, or an impostor with an expired key of it, does not turn it back. */
function serverTimeIn(nvm: Nvm): ServerTime {
  const newestMs = (): number => (nvm.state().newestTimeSeconds ?? 0) * 1000;
  return createServerTime(newestMs, toldMs => {
    if (toldMs > newestMs() + hourMs) nvm.update(state => ({ ...state, newestTimeSeconds: secondsOf(toldMs) }));
  });
}

function queue(): Core['alone'] {
  let last: Promise<unknown> = Promise.resolve();
  return work => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
}

/** Opens a connection to the server, uses it, closes it.
 *  @throws NusecError STATE before a server was named; SERVER_UNREACHABLE; whatever `use` throws */
export const withServer = <T>(core: Core, use: (server: ServerApi) => Promise<T>, url?: string): Promise<T> =>
  withConnection(core, http => use(createServerApi(http, readIdentity(core.chip).uidHex)), url);

/** The same without the calls of the production. */
export async function withConnection<T>(core: Core, use: (http: HttpClient) => Promise<T>, url = core.nvm.state().serverUrl): Promise<T> {
  if (!url) throw new NusecError('STATE', 'no key has been agreed with a server');
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') throw new NusecError('BAD_REQUEST', 'the server is an https URL');
  const identity = readIdentity(core.chip);
  const bundle = core.chip.data.get('bundle') && (await readBundle(core.chip, identity));
  const http = identity.connect(url, bundle, core.serverTime);
  try {
    return await use(http);
  } finally {
    http.close();
  }
}

/** AGREE_KEK: a new epoch of AES_NuLink3 with this server (R27–R34). @returns the epoch */
export async function agreeWithServer(core: Core, url: string): Promise<number> {
  const identity = readIdentity(core.chip);
  const epoch = await withServer(core, server => agreeKek(identity, core.keks, server), url);
  core.nvm.update(state => ({ ...state, serverUrl: url }));
  core.tell({ event: 'kek-agreed', epoch });
  return epoch;
}
