import { concat, equalBytes, utf8 } from '../../src/bytes.ts';
import { decodeCbor } from '../../src/cbor/decode.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import { type CborKey, type CborValue, isMap } from '../../src/cbor/value.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { eraseRegion, type Flash, type Region } from './flash.ts';

/** Named objects in the data region of the flash: certificates, registration id, trust bundle, and what stages keep.
 *  Two banks written by turns: bank = magic[4] ‖ sequence u32 ‖ length u32 ‖ SHA-256[32] ‖ CBOR map name → bytes. The head is written last,
 *  so a cut leaves the bank before it. */
export type DataStore = {
  readonly get: (name: string) => Uint8Array | undefined;
  /** Whole when it returns. @throws NusecError PACKET_TOO_LARGE when the bank is full */
  readonly put: (name: string, content: Uint8Array) => void;
  /** Changes several entries in one write: after a power cut all are as before or all are changed. undefined removes an entry. */
  readonly putAll: (changes: Readonly<Record<string, Uint8Array | undefined>>) => void;
  readonly remove: (name: string) => void;
  readonly eraseAll: () => void;
};

const magic = utf8('NSDS');
const headBytes = 44;

type Bank = { readonly region: Region; readonly sequence: number; readonly objects: ReadonlyMap<string, Uint8Array> };

export function openDataStore(flash: Flash, region: Region): DataStore {
  const half = region.bytes / 2;
  const banks = [0, half].map(at => ({ offset: region.offset + at, bytes: half })) as [Region, Region];
  const found = banks.flatMap(bank => readBank(flash, bank) ?? []).sort((a, b) => b.sequence - a.sequence)[0];
  let current: Bank = found ?? { region: banks[1], sequence: 0, objects: new Map() };

  const save = (objects: ReadonlyMap<string, Uint8Array>): void => {
    const next = current.region.offset === banks[0].offset ? banks[1] : banks[0];
    const sequence = current.sequence + 1;
    writeBank(flash, { region: next, sequence, objects });
    current = { region: next, sequence, objects };
  };
  const isAsWanted = ([name, wanted]: readonly [string, Uint8Array | undefined]): boolean => {
    const before = current.objects.get(name);
    return before && wanted ? equalBytes(before, wanted) : before === wanted;
  };
  const putAll: DataStore['putAll'] = changes => {
    const wanted = Object.entries(changes);
    if (wanted.every(isAsWanted)) return;
    const next = new Map(current.objects);
    for (const [name, content] of wanted) {
      if (content) next.set(name, content.slice());
      else next.delete(name);
    }
    save(next);
  };
  return {
    get: name => current.objects.get(name)?.slice(),
    put: (name, content) => putAll({ [name]: content }),
    putAll,
    remove: name => putAll({ [name]: undefined }),
    eraseAll: () => {
      eraseRegion(flash, region);
      current = { region: banks[1], sequence: 0, objects: new Map() };
    },
  };
}

function readBank(flash: Flash, region: Region): Bank | undefined {
  const head = flash.read(region.offset, headBytes);
  const view = new DataView(head.buffer);
  const length = view.getUint32(8);
  if (!equalBytes(head.subarray(0, 4), magic) || length > region.bytes - headBytes) return undefined;
  const content = flash.read(region.offset + headBytes, length);
  if (!equalBytes(sha256(content), head.subarray(12))) return undefined;
  return { region, sequence: view.getUint32(4), objects: readObjects(content) };
}

function readObjects(content: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const map = decodeCbor(content);
  const entries = isMap(map) ? [...map] : [];
  return new Map(entries.flatMap(([name, value]) => (value instanceof Uint8Array ? [[String(name), value] as const] : [])));
}

function writeBank(flash: Flash, { region, sequence, objects }: Bank): void {
  const content = encodeCbor(new Map<CborKey, CborValue>(objects));
  if (content.length > region.bytes - headBytes) throw new NusecError('PACKET_TOO_LARGE', 'the data region is full');
  const head = new Uint8Array(headBytes);
  const view = new DataView(head.buffer);
  view.setUint32(4, sequence);
  view.setUint32(8, content.length);
  head.set(magic);
  head.set(sha256(content), 12);
  const sectors = Math.ceil((headBytes + content.length) / flash.sectorBytes);
  eraseRegion(flash, { offset: region.offset, bytes: sectors * flash.sectorBytes });
  flash.program(region.offset + headBytes, content);
  flash.program(region.offset, concat(head));
}
