import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../../src/bytes.ts';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import type { CaUse } from '../../../src/domain/authorityEvents.ts';
import { certificationStream } from '../../../src/domain/certification.ts';
import { NusecError } from '../../../src/errors.ts';
import { tags } from '../../../src/pki/der.ts';
import { cursor, enter, read, readUnsigned } from '../../../src/pki/derReader.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { certificateQueries } from '../../../src/projections/certificates.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyDevice, certifyGateway, certifyProgrammer } from '../../../src/services/identity/enrolment.ts';
import { reenrol } from '../../../src/services/identity/est.ts';
import { registerProgrammer } from '../../../src/services/production/programmers.ts';
import { covers } from '../../support/covers.ts';
import { newParty, newUid, type Party } from '../parties.ts';
import { mint, openProject, type Project, putInStock, requestOf } from '../project.ts';

/** What is signed is recorded before it leaves the server (RULE-10): the process is killed before and after every effect, and asked again. */

/** Effects left until the process is "killed": the effect then happens or not, and the caller hears nothing. */
let untilKill = Number.POSITIVE_INFINITY;
let signed: Uint8Array[] = [];
class Killed extends Error {}

async function effect<T>(work: () => Promise<T>): Promise<T> {
  untilKill -= 1;
  if (untilKill === 0) throw new Killed();
  const result = await work();
  untilKill -= 1;
  if (untilKill === 0) throw new Killed();
  return result;
}
let commits = 0;
const stored = <T>(work: () => Promise<T>): Promise<T> => {
  commits += 1;
  return effect(work);
};
/** How often somebody asked for the authorities. */
let authorityReads = 0;
/** How often SQLite was asked whether another process had stored something. */
let looks = 0;
const signedAs = (id: string, message: Uint8Array, sign: () => Promise<Uint8Array>): Promise<Uint8Array> =>
  effect(async () => {
    if (id.startsWith('ica/')) signed.push(message);
    return sign();
  });
const faulty = (ctx: Context): Context => ({
  ...ctx,
  store: {
    ...ctx.store,
    readStream(stream, ...rest) {
      if (stream === authorityStream(ctx.project)) authorityReads += 1;
      if (rest[1] !== true) looks += 1;
      return ctx.store.readStream(stream, ...rest);
    },
    append: (...args) => stored(() => ctx.store.append(...args)),
    commit: unit => stored(() => ctx.store.commit(unit)),
  },
  blobs: { ...ctx.blobs, put: bytes => effect(() => ctx.blobs.put(bytes)) },
  keystore: {
    ...ctx.keystore,
    sign: (id, message) => signedAs(id, message, () => ctx.keystore.sign(id, message)),
    signProven: (id, message, proof) => signedAs(id, message, () => ctx.keystore.signProven(id, message, proof)),
  },
});

let project: Project;
beforeAll(async () => {
  project = await openProject(faulty);
});
afterAll(() => project.close());

const by = 'operator:alice';
type Subject = { readonly id: string; ask(): Promise<Uint8Array> };
const subjects: Readonly<Record<string, () => Promise<Subject>>> = {
  async device() {
    const party = newParty();
    const objId = newUid();
    await mint(project.ctx, party.uid, objId);
    const csr = requestOf(party, { commonName: objId, serialNumber: party.uid });
    return { id: party.uid, ask: async () => (await certifyDevice(project.ctx, party.uid, csr, by)).certificate };
  },
  async programmer() {
    const party = newParty();
    await registerProgrammer(project.ctx, party.uid, 'NuLink3', by);
    const csr = requestOf(party, { serialNumber: party.uid });
    return { id: party.uid, ask: async () => (await certifyProgrammer(project.ctx, party.uid, csr, by)).certificate };
  },
  async gateway() {
    const id = `gw-${newUid().slice(0, 8)}`;
    await registerGateway(project.ctx, id, id, by);
    const csr = requestOf(newParty(), { commonName: id });
    return { id, ask: async () => (await certifyGateway(project.ctx, id, csr, by)).certificate };
  },
  async ldevid() {
    const unit = await project.newDevice();
    await putInStock(project.ctx, unit.uid);
    const machine = await project.trust.identify(unit.certificate);
    const csr = requestOf(newParty(unit.uid) as Party, {});
    return { id: unit.uid, ask: () => reenrol(project.ctx, 'ldevid', csr, machine) };
  },
};

const serialOfTbs = (tbs: Uint8Array): string => {
  const fields = enter(cursor(tbs), tags.sequence);
  read(fields, 0xa0);
  return toHex(readUnsigned(fields));
};
const inventoryOf = async (id: string) => {
  await project.ctx.reads.waitFor(await project.ctx.store.head(), { projections: ['certificates'] });
  return certificateQueries(project.ctx.reads.db).page({ subject: id, limit: 10 });
};

describe.each(Object.keys(subjects))('the certificate of a %s', kind => {
  it('waits for the disk once, for all that is recorded of it', async () => {
    const { ask } = await (subjects[kind] as () => Promise<Subject>)();
    commits = 0;
    await ask();
    // The first key of a programmer is recorded before.
    expect(commits).toBe(kind === 'programmer' ? 2 : 1);
    commits = 0;
    await ask();
    expect(commits).toBe(0);
  });

  it('asks for the authorities once, and compares them when the result is stored', async () => {
    const { ask } = await (subjects[kind] as () => Promise<Subject>)();
    authorityReads = 0;
    await ask();
    expect(authorityReads).toBe(2);
    authorityReads = 0;
    await ask();
    expect(authorityReads).toBe(1);
  });

  it('looks for what other processes have stored before it begins, and before it is decided', async () => {
    const { ask } = await (subjects[kind] as () => Promise<Subject>)();
    looks = 0;
    await ask();
    // The first key of a programmer is recorded before.
    expect(looks).toBe(kind === 'programmer' ? 3 : 2);
  });

  it('is not recorded when its issuing CA was compromised while it was signed (I10)', async () => {
    covers('I10');
    const { ask } = await (subjects[kind] as () => Promise<Subject>)();
    const { ctx } = project;
    const { sign, signProven } = ctx.keystore;
    signed = [];
    const compromise = async (id: string): Promise<void> => {
      Object.assign(ctx.keystore, { sign, signProven });
      const command = { type: 'CompromiseIssuingCa', icaId: id.slice('ica/'.length), reason: 'stolen', by } as const;
      await execute(ctx, authority, authorityStream(ctx.project), command, by);
    };
    ctx.keystore.sign = async (id, message) => {
      await compromise(id);
      return sign(id, message);
    };
    ctx.keystore.signProven = async (id, message, proof) => {
      await compromise(id);
      return signProven(id, message, proof);
    };
    await expect(ask()).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
    const [refused = ''] = signed.map(serialOfTbs);
    await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates'] });
    expect(refused).not.toBe('');
    expect(await certificateQueries(ctx.reads.db).bySerial(refused)).toBeUndefined();

    const line = kind === 'device' || kind === 'ldevid' ? 'meter' : undefined;
    await establishIssuingCa(ctx, line === undefined ? (kind as CaUse) : 'device', line);
    expect(parseCertificate(await ask()).serialHex).not.toBe(refused);
  });

  it('is one and recorded, wherever the process was killed (R78)', async () => {
    covers('R78');
    for (let point = 1, killed = true; killed; point += 1) {
      const { id, ask } = await (subjects[kind] as () => Promise<Subject>)();
      const before = (await inventoryOf(id)).length;
      untilKill = point;
      killed = await ask().then(
        () => false,
        error => error instanceof Killed,
      );
      untilKill = Number.POSITIVE_INFINITY;
      const recordedBefore = (await inventoryOf(id)).length;
      signed = [];
      const certificate = await ask();
      const { serialHex } = parseCertificate(certificate);
      // Of what was recorded before the kill, nothing is signed again.
      expect(signed.map(serialOfTbs), `killed at effect ${point}`).toEqual(recordedBefore > before ? [] : [serialHex]);
      const rows = await inventoryOf(id);
      expect(rows.slice().filter(({ serial }) => serial === serialHex)).toHaveLength(1);
      expect(rows).toHaveLength(before + 1);
      expect(await ask()).toEqual(certificate);
      expect(point).toBeLessThan(40);
    }
  });

  it('is the same for requests that come together', async () => {
    const { id, ask } = await (subjects[kind] as () => Promise<Subject>)();
    const before = (await inventoryOf(id)).length;
    const [first, ...others] = await Promise.all(Array.from({ length: 8 }, ask));
    for (const other of others) expect(other).toEqual(first);
    expect(await inventoryOf(id)).toHaveLength(before + 1);
  });
});

describe('a key of another holder', () => {
  it('leaves no intent and nothing signed (T26, I4)', async () => {
    covers('T26', 'I4');
    const party = newParty();
    const requests = await Promise.all(
      ['a', 'b'].map(async name => {
        const id = `gw-${name}-${newUid().slice(0, 8)}`;
        await registerGateway(project.ctx, id, id, by);
        return { id, csr: requestOf(party, { commonName: id }) };
      }),
    );
    const [mine, theirs] = requests as [(typeof requests)[number], (typeof requests)[number]];
    await certifyGateway(project.ctx, mine.id, mine.csr, by);
    signed = [];
    await expect(certifyGateway(project.ctx, theirs.id, theirs.csr, by)).rejects.toMatchObject({ code: 'WEAK_OR_CLONED_KEY' });
    expect(await project.ctx.store.readStream(certificationStream('gateway', theirs.id))).toEqual([]);
    expect(signed).toEqual([]);
  });

  it('is found out when both ask at once: one gets a certificate', async () => {
    const party = newParty();
    const ids = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const id = `gw-${newUid().slice(0, 8)}`;
        await registerGateway(project.ctx, id, id, by);
        return id;
      }),
    );
    signed = [];
    const answers = await Promise.allSettled(ids.map(id => certifyGateway(project.ctx, id, requestOf(party, { commonName: id }), by)));
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const answer of answers) if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'WEAK_OR_CLONED_KEY' });
    expect(signed).toHaveLength(1);
  });
});

describe('a keystore that is locked', () => {
  it('has its own code, and nothing is lost or issued twice when it is back', async () => {
    const { ask } = await (subjects.gateway as () => Promise<Subject>)();
    const { keystore } = project.ctx;
    const { signProven } = keystore;
    keystore.signProven = () => Promise.reject(new NusecError('KEYSTORE_LOCKED', 'the keystore is closed'));
    signed = [];
    for (let i = 0; i < 3; i += 1) await expect(ask()).rejects.toMatchObject({ code: 'KEYSTORE_LOCKED' });
    keystore.signProven = signProven;
    const { serialHex } = parseCertificate(await ask());
    expect(signed.map(serialOfTbs)).toEqual([serialHex]);
  });
});

describe('a renewal', () => {
  it('gives the same certificate until the last third of its life, then another', async () => {
    const { ask } = await (subjects.gateway as () => Promise<Subject>)();
    const first = await ask();
    project.moveClock(240 * 86_400_000);
    expect(await ask()).toEqual(first);
    project.moveClock(10 * 86_400_000);
    const second = parseCertificate(await ask());
    expect(second.serialHex).not.toBe(parseCertificate(first).serialHex);
    expect(second.spki).toEqual(parseCertificate(first).spki);
  });

  it('needs an issuing CA that has the whole life of a certificate left', async () => {
    const { ask } = await (subjects.programmer as () => Promise<Subject>)();
    project.moveClock(3660 * 86_400_000);
    await expect(ask()).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
  });
});
