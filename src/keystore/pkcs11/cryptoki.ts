import type { KoffiFunc, LibraryHandle } from 'koffi';
import { NusecError } from '../../errors.ts';
import { lockingFlag, returnNames } from './constants.ts';

/** A PKCS#11 module as callable functions: its function list (v2.40 §4.6) through koffi, which brings its binary along and is
 *  loaded only here, so that the product runs without it. Runs in the token process only (tokenProcess.ts).
 *
 *  For machines where `unsigned long` has 8 bytes, little endian: Linux and macOS on x64 and arm64. */

export const ulongBytes = 8;

const ulong = 'unsigned long';
const pointer = 'void *';

/** Index in CK_FUNCTION_LIST (pkcs11f.h) and the types of the arguments. */
const functions = {
  C_Initialize: [0, [pointer]],
  C_GetSlotList: [4, ['uint8_t', pointer, pointer]],
  C_GetTokenInfo: [6, [ulong, pointer]],
  C_GetMechanismList: [7, [ulong, pointer, pointer]],
  C_OpenSession: [12, [ulong, ulong, pointer, pointer, pointer]],
  C_Login: [18, [ulong, ulong, pointer, ulong]],
  C_CreateObject: [20, [ulong, pointer, ulong, pointer]],
  C_DestroyObject: [22, [ulong, ulong]],
  C_GetAttributeValue: [24, [ulong, ulong, pointer, ulong]],
  C_FindObjectsInit: [26, [ulong, pointer, ulong]],
  C_FindObjects: [27, [ulong, pointer, ulong, pointer]],
  C_FindObjectsFinal: [28, [ulong]],
  C_DigestInit: [37, [ulong, pointer]],
  C_DigestUpdate: [39, [ulong, pointer, ulong]],
  C_DigestKey: [40, [ulong, ulong]],
  C_DigestFinal: [41, [ulong, pointer, pointer]],
  C_SignInit: [42, [ulong, pointer, ulong]],
  C_Sign: [43, [ulong, pointer, ulong, pointer, pointer]],
  C_GenerateKey: [58, [ulong, pointer, pointer, ulong, pointer]],
  C_GenerateKeyPair: [59, [ulong, pointer, pointer, ulong, pointer, ulong, pointer, pointer]],
  C_WrapKey: [60, [ulong, pointer, ulong, ulong, pointer, pointer]],
  C_UnwrapKey: [61, [ulong, pointer, ulong, pointer, ulong, pointer, ulong, pointer]],
  C_DeriveKey: [62, [ulong, pointer, ulong, pointer, ulong, pointer]],
} as const satisfies Record<string, readonly [number, readonly string[]]>;

type FunctionName = keyof typeof functions;
type Argument = bigint | number | Uint8Array | null;
type Native = KoffiFunc<(...args: Argument[]) => number>;

/** What a module answered other than CKR_OK. */
export class CryptokiError extends Error {
  readonly returnValue: number;

  constructor(name: string, returnValue: number) {
    super(`${name} answered CKR_${returnNames[returnValue] ?? `0x${returnValue.toString(16)}`}`);
    this.name = 'CryptokiError';
    this.returnValue = returnValue;
  }
}

export type Cryptoki = {
  /** Kept with its functions: once this is collected, koffi unloads the library and the functions point nowhere. */
  readonly library: LibraryHandle;
  /** Calls in this thread. @throws CryptokiError */
  call(name: FunctionName, ...args: readonly Argument[]): void;
  /** Calls what may take the token long: as long as it is quick in this thread, else in a thread of koffi's, so that a token in the network
   *  works for all sessions together. @throws CryptokiError */
  callSlow(name: FunctionName, ...args: readonly Argument[]): Promise<void>;
  /** Where the bytes of a buffer of `createBuffer` are. */
  addressOf(buffer: Uint8Array): bigint;
};

/** Handing a call to another thread and back costs more than SoftHSM needs for a signature. */
const quickMs = 1;
/** After a call that was not quick, so many of its kind go aside before one is tried here again. */
const turnsAside = 50;

/** Bytes that stay where they are: a small Uint8Array may live on the JavaScript heap and move. */
export const createBuffer = (bytes: number): Buffer<ArrayBuffer> => Buffer.from(new ArrayBuffer(bytes));

/** Loads a module and initialises it once for this process.
 *  @param file path of the vendor's shared library
 *  @throws BAD_REQUEST (koffi not installed, or this is no PKCS#11 module), CryptokiError */
export async function loadCryptoki(file: string): Promise<Cryptoki> {
  const koffi = await import('koffi').catch(cause => {
    throw new NusecError('BAD_REQUEST', 'the pkcs11 keystore needs the optional npm package koffi', { cause });
  });
  if (koffi.sizeof(ulong) !== ulongBytes) throw new NusecError('BAD_REQUEST', 'the pkcs11 keystore runs on 64-bit Linux and macOS only');
  const { library, list } = openLibrary(koffi, file);
  const natives = new Map<FunctionName, Native>();
  for (const [name, [index, args]] of Object.entries(functions) as [FunctionName, readonly [number, readonly string[]]][]) {
    // CK_VERSION of two bytes, padded; then the pointers.
    const target = koffi.decode(list + BigInt(8 + index * 8), pointer) as bigint;
    natives.set(name, koffi.decode(target, koffi.proto(ulong, [...args])) as Native);
  }
  const cryptoki = bind(library, natives, buffer => koffi.address(buffer));
  cryptoki.call('C_Initialize', initializeArgs());
  return cryptoki;
}

function openLibrary(koffi: typeof import('koffi'), file: string): { library: LibraryHandle; list: bigint } {
  try {
    const library = koffi.load(file);
    const list = createBuffer(8);
    library.func('C_GetFunctionList', ulong, [pointer])(list);
    return { library, list: list.readBigUInt64LE() };
  } catch (cause) {
    throw new NusecError('BAD_REQUEST', `${file} is not a PKCS#11 module of this machine`, { cause });
  }
}

function bind(library: LibraryHandle, natives: ReadonlyMap<FunctionName, Native>, addressOf: (buffer: Uint8Array) => bigint): Cryptoki {
  const native = (name: FunctionName): Native => natives.get(name) as Native;
  // The garbage collector does not see what a thread outside of JavaScript works on.
  const underway = new Set<readonly Argument[]>();
  const aside = new Map<FunctionName, number>();

  const call: Cryptoki['call'] = (name, ...args) => {
    const returnValue = native(name)(...args);
    if (returnValue !== 0) throw new CryptokiError(name, returnValue);
  };
  const callAside = (name: FunctionName, args: readonly Argument[]): Promise<void> =>
    new Promise((resolve, reject) => {
      underway.add(args);
      native(name).async(...args, (error: unknown, returnValue: number) => {
        underway.delete(args);
        if (error) reject(error);
        else if (returnValue !== 0) reject(new CryptokiError(name, returnValue));
        else resolve();
      });
    });

  return {
    library,
    call,
    async callSlow(name, ...args) {
      const turns = aside.get(name) ?? 0;
      if (turns > 0) {
        aside.set(name, turns - 1);
        return callAside(name, args);
      }
      const startMs = performance.now();
      try {
        call(name, ...args);
      } finally {
        if (performance.now() - startMs > quickMs) aside.set(name, turnsAside);
      }
    },
    addressOf,
  };
}

/** CK_C_INITIALIZE_ARGS: four mutex functions we leave to the system, flags, reserved. */
function initializeArgs(): Uint8Array {
  const args = createBuffer(48);
  args.writeBigUInt64LE(BigInt(lockingFlag), 32);
  return args;
}
