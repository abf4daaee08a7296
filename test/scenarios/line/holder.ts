import fs from 'node:fs';
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { join } from 'node:path';

/** Loaded into the processes of a production line before their own code (`node --import`). The programmer's journal says where a unit is, so an exact
 *  moment is just before or just after the replacement of its file: there the programmer ends by SIGKILL, or stands still until the test
 *  has done what it wants to do at that moment. A server or a target that was armed ends instead of an answer, with the work behind it done. */

export type Plan = {
  readonly uid: string;
  readonly step: number;
  /** `after`: the step is done and not yet remembered. */
  readonly moment: 'before' | 'after';
  readonly action: 'die' | 'hold';
};

export const folderVariable = 'NUSEC_LINE_FOLDER';
/** Files in that folder. `server`: the name of a call; `mcu`: anything. */
export const files = { plan: 'plan', held: 'held', server: 'server', mcu: 'mcu' } as const;

/** Steps that are written down before they begin. */
const starred = new Set([2, 4, 6, 9, 10, 12, 14, 16]);
const lastStep = 16;
const lookMs = 2;

type Journal = { readonly units?: Readonly<Record<string, { readonly done: number; readonly begun: number }>> };

/** @param folder what is asked for */
function install(folder: string): void {
  const read = (name: string): string | undefined =>
    fs.existsSync(join(folder, name)) ? fs.readFileSync(join(folder, name), 'utf8') : undefined;
  const done = (name: string): void => fs.rmSync(join(folder, name), { force: true });
  const die = (name: string): void => {
    done(name);
    process.kill(process.pid, 'SIGKILL');
  };
  const carryOut = ({ action }: Plan): void => {
    if (action === 'die') die(files.plan);
    fs.writeFileSync(join(folder, files.held), '');
    done(files.plan);
    const clock = new Int32Array(new SharedArrayBuffer(4));
    while (fs.existsSync(join(folder, files.held))) Atomics.wait(clock, 0, 0, lookMs);
  };
  const role = process.argv[2] === 'server' ? 'server' : process.argv[3] === 'run' ? process.argv[2] : undefined;
  if (role === 'programmer') watchJournal(() => read(files.plan), carryOut);
  if (role === 'server') {
    watchAnswers(call => {
      if (read(files.server) === call) die(files.server);
    });
  }
  if (role === 'mcu') {
    watchWires(() => {
      if (read(files.mcu) !== undefined) die(files.mcu);
    });
  }
}

function watchJournal(planned: () => string | undefined, carryOut: (plan: Plan) => void): void {
  const rename = fs.renameSync;
  let seen: string | undefined;
  const isThere = ({ uid, step, moment }: Plan, { units = {} }: Journal): boolean => {
    const unit = units[uid];
    if (unit === undefined) return moment === 'after' && step === lastStep && seen === uid;
    seen = uid;
    if (moment === 'after') return unit.done >= step;
    return unit.done === step - 1 && (!starred.has(step) || unit.begun >= step);
  };
  fs.renameSync = (from, to) => {
    const text = String(to).endsWith('programmer.json') ? planned() : undefined;
    const plan = text === undefined ? undefined : (JSON.parse(text) as Plan);
    const isNow = plan !== undefined && isThere(plan, JSON.parse(fs.readFileSync(from, 'utf8')) as Journal);
    if (isNow && plan.moment === 'after') carryOut(plan);
    rename(from, to);
    if (isNow && plan.moment === 'before') carryOut(plan);
  };
  syncBuiltinESMExports();
}

function watchAnswers(look: (call: string) => void): void {
  const { writeHead } = http.ServerResponse.prototype;
  http.ServerResponse.prototype.writeHead = function (this: http.ServerResponse, ...head: readonly unknown[]) {
    if (this.req.method === 'POST') look(this.req.url?.split('/').at(-1) ?? '');
    return Reflect.apply(writeHead, this, head) as http.ServerResponse;
  } as typeof writeHead;
}

function watchWires(look: () => void): void {
  const { write } = net.Socket.prototype;
  net.Socket.prototype.write = function (this: net.Socket, ...data: readonly unknown[]) {
    if (this.remotePort !== undefined) look();
    return Reflect.apply(write, this, data) as boolean;
  } as typeof write;
}

const folder = process.env[folderVariable];
if (folder !== undefined) install(folder);
