import type { DevAuthStage } from '../../src/production/devauth/command.ts';
import type { ResponderOptions } from '../../src/spdm/responder/responder.ts';
import { devAuthMagic, memoryMap } from '../link/debugPort.ts';
import type { MctpHandler } from '../link/mctpLink.ts';
import type { BootResult } from './bootloader.ts';
import type { Chip } from './chip.ts';
import { PowerCut } from './flash.ts';
import { finishTakingOver } from './nextGeneration.ts';

/** A board: one chip and the programs that may run on it, one at a time. A target has devauth, bl2 and app; a programmer has devauth, bl2
 *  and programmer. What runs after a start is decided by the boot chain; the DevAuth code only by the debugger. */

type ResetMode = 'normal' | 'bootloader';

/** Something worth telling, as one JSON line. Never a secret. */
export type BoardEvent = { readonly event: string; readonly [field: string]: string | number | boolean };

export type StageContext = {
  readonly chip: Chip;
  readonly boot: BootResult;
  readonly stage: DevAuthStage;
  /** Restarts the chip; when a message is being answered, after the answer has left. */
  readonly resetLater: (mode: ResetMode) => void;
  /** Of a chip whose programs speak something else in SPDM than ours: what they speak, out of what ours do. */
  readonly spdm?: ((ours: ResponderOptions) => ResponderOptions) | undefined;
  readonly tell: (event: BoardEvent) => void;
};

export type Stage = {
  /** Answers one MCTP message (type byte first); undefined = nothing is sent. */
  readonly handle: (message: Uint8Array) => Promise<Uint8Array | undefined>;
  /** The chip restarts: connections end, nothing is written any more when it resolves. */
  readonly stop?: () => Promise<void>;
};

export type StageFactory = (context: StageContext) => Stage;

export type BoardOptions = {
  readonly chip: Chip;
  readonly stages: Partial<Readonly<Record<DevAuthStage, StageFactory>>>;
  /** What to run after the boot chain; default is what the boot chain ended in. */
  readonly select?: (boot: BootResult, chip: Chip) => DevAuthStage | 'none';
  readonly tell?: (event: BoardEvent) => void;
  readonly spdm?: StageContext['spdm'];
};

export type Board = {
  readonly chip: Chip;
  readonly stage: () => DevAuthStage | 'none';
  readonly lastBoot: () => BootResult;
  /** Power-on or reset. */
  readonly reset: (mode?: ResetMode) => Promise<void>;
  /** Starts the code at this SRAM address. @returns false when there is no DevAuth code */
  readonly run: (address: number) => Promise<boolean>;
  /** For `serveMctp`: gives a message of the serial link to whatever runs. */
  readonly receive: MctpHandler;
  /** Power off. */
  readonly stop: () => Promise<void>;
};

const nothingBooted: BootResult = { stage: 'dead', swapped: 'none', confirmed: false, measurements: [] };

/** The chip is off until the first `reset`. */
export function createBoard({ chip, stages, select = stageOfBoot, tell = () => undefined, spdm }: BoardOptions): Board {
  let boot = nothingBooted;
  let name: DevAuthStage | 'none' = 'none';
  let running: Stage | undefined;
  let wanted: ResetMode | undefined;
  /** Messages that are being answered; a programmer has several peers. */
  let answering = 0;
  let restarts: Promise<void> = Promise.resolve();

  const enter = (next: DevAuthStage | 'none'): void => {
    const factory = next === 'none' ? undefined : stages[next];
    name = factory ? next : 'none';
    const resetLater = (mode: ResetMode): void => {
      wanted = mode;
      if (answering === 0) setImmediate(() => void resetIfWanted());
    };
    running = next === 'none' ? undefined : factory?.({ chip, boot, stage: next, resetLater, tell, spdm });
  };
  const halt = async (): Promise<void> => {
    const before = running;
    running = undefined;
    name = 'none';
    wanted = undefined;
    await before?.stop?.();
  };
  const restart = async (mode: ResetMode): Promise<void> => {
    await halt();
    try {
      boot = chip.boot();
      finishTakingOver(chip);
      chip.sync();
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
      return;
    }
    enter(mode === 'bootloader' && boot.stage === 'app' ? 'bl2' : select(boot, chip));
    tell(bootEvent(chip, boot, name));
  };
  /** One restart after the other. */
  const reset = (mode: ResetMode = 'normal'): Promise<void> => {
    restarts = restarts.then(() => restart(mode));
    return restarts;
  };
  const resetIfWanted = async (): Promise<void> => {
    if (wanted) await reset(wanted);
  };
  return {
    chip,
    stage: () => name,
    lastBoot: () => boot,
    reset,
    run: async address => {
      const offset = address - memoryMap.sram.address;
      const code = new TextDecoder().decode(chip.sram.subarray(offset, offset + devAuthMagic.length));
      if (offset < 0 || code !== devAuthMagic) return false;
      await halt();
      enter('devauth');
      return true;
    },
    receive: async (message, send) => {
      answering += 1;
      try {
        const answer = await running?.handle(message);
        chip.sync();
        if (answer) await send(answer);
      } catch (error) {
        // A chip whose power went answers nothing and does nothing until the next start.
        await halt();
        if (!(error instanceof PowerCut)) tell({ event: 'fault', text: error instanceof Error ? error.message : 'unknown' });
      } finally {
        answering -= 1;
      }
      if (answering === 0) await resetIfWanted();
    },
    stop: async () => {
      await halt();
      chip.sync();
    },
  };
}

const stageOfBoot = (boot: BootResult): DevAuthStage | 'none' => (boot.stage === 'dead' ? 'none' : boot.stage);

function bootEvent(chip: Chip, boot: BootResult, stage: DevAuthStage | 'none'): BoardEvent {
  const refusal = boot.refused ?? boot.reason;
  const { version } = boot.app ?? boot.bl2 ?? {};
  return {
    event: 'boot',
    stage,
    bootCount: chip.bootCount(),
    lifeCycle: chip.lifeCycle(),
    debugState: chip.debugState(),
    ...(version && { version: `${version.major}.${version.minor}.${version.revision}+${version.build}` }),
    ...(boot.app && { confirmed: boot.confirmed }),
    ...(boot.swapped !== 'none' && { swapped: boot.swapped }),
    ...(refusal && { reason: refusal }),
  };
}
