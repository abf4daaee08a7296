import { createECDH, createHmac, hkdfSync, randomBytes, sign, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { concat, equalBytes, fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../../../src/bytes.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { sha256 } from '../../../src/digest.ts';
import { derToRaw } from '../../../src/ecdsa.ts';
import { NusecError } from '../../../src/errors.ts';
import { attachTrailer, buildImage, deviceTrailer, type UnsignedImage } from '../../../src/ota/build.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { checkChain } from '../../../src/pki/chain.ts';
import { judgeCsr } from '../../../src/pki/csr.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { imageIds } from '../../../src/production/fields.ts';
import { type Grant, signGrant } from '../../../src/production/grant.ts';
import { type KekAgreement, kekConfirmation, kekKdf, kekNonceBytes } from '../../../src/production/kek.ts';
import { emptyLedger, type LedgerHead, type LedgerRecord, ledgerHeadOf, verifyLedgerSegment } from '../../../src/production/ledger.ts';
import { type PackagePayload, sealPackage, strictestPolicy } from '../../../src/production/package.ts';
import { verifyPackageAck } from '../../../src/production/packageAck.ts';
import { provesImage, provesLock, verifyReceipt } from '../../../src/production/receipt.ts';
import type { Signer } from '../../../src/production/signed.ts';
import { signTrustBundle } from '../../../src/production/trustBundle.ts';
import { isUidAllowed, proveUid, type UidRule } from '../../../src/production/uidList.ts';
import { decodeEvidence, verifyEvidence } from '../../../src/spdm/evidence.ts';
import { type Authority, crlUrl, type Key, makeIca, makeKey, makeRoot, now, organization, serial } from '../../pki/support.ts';
import { sealWith } from '../../production/samples.ts';

/** The server's side of production as a double: one process, all in memory, the same formats and checks as the real one by the real code of
 *  src/production and src/pki. It can lose answers, refuse, and hand out what it should not. */

type TextFields =
  | 'uid'
  | 'csr'
  | 'nonce'
  | 'publicKey'
  | 'mac'
  | 'receipt'
  | 'evidence'
  | 'jobId'
  | 'objId'
  | 'certificateSha256'
  | 'acknowledgement'
  | 'reason';
/** What a call may carry; which fields are there depends on the call. */
type Body = Readonly<Record<TextFields, string>> & { readonly ledger: readonly string[]; readonly otpTouched: boolean };
export type Call = { readonly method: string; readonly path: string; readonly body: Body };
/** `lost`: the call never arrives; `unanswered`: it is carried out, the answer is lost. */
export type Fault = 'lost' | 'unanswered' | NusecError | undefined;

type Unit = {
  readonly grantId: string;
  readonly objId: string;
  readonly grant: Uint8Array;
  readonly uid: string;
  readonly jobId: string;
  readonly programmer: string;
  certificate?: Uint8Array;
  publicKey?: Uint8Array;
  bootKeyBurned?: boolean;
  locked?: boolean;
  authenticated?: boolean;
  applications: number;
  outcome?: 'committed' | 'voided';
  scrap?: boolean;
  reason?: string;
};
type Allotment = {
  readonly jobId: string;
  readonly programmer: string;
  count: number;
  payload: PackagePayload;
  imported?: string;
  ledger: LedgerHead;
  records: LedgerRecord[];
  raw: Uint8Array[];
  quoted: number;
  frozen?: boolean;
  zeroised?: boolean;
};
type Programmer = { certificate?: Uint8Array; publicKey?: Uint8Array; bootKey?: Key; status: string; kek?: Uint8Array; epoch: number };

export type ServerOptions = { readonly dnsNames?: readonly string[]; readonly selfSigned?: boolean };

export const vendorUuid = new Uint8Array(16).fill(0x11);
export const classUuid = new Uint8Array(16).fill(0x22);
const version = { major: 1, minor: 0, revision: 0, build: 0 };
const image = (text: string, securityCounter: number): UnsignedImage =>
  buildImage({ payload: utf8(text.repeat(400)), version, securityCounter, vendorUuid, classUuid });

export type ProductionServer = Awaited<ReturnType<typeof startProductionServer>>;

export async function startProductionServer(options: ServerOptions = {}) {
  const root = await makeRoot();
  const icas = {
    programmer: await makeIca(root, 'programmers'),
    device: await makeIca(root, 'meter'),
    server: await makeIca(root, 'servers'),
  };
  const packageKey = makeKey();
  const bundleOf = (bundleVersion: number, keys: readonly Key[]) =>
    signTrustBundle(
      {
        version: bundleVersion,
        issuedAtSeconds: 1_800_000_000,
        roots: [root.der],
        issuers: Object.entries(icas).map(([use, ica]) => ({ icaId: `ica/${use}/1`, use, certificate: ica.der })),
        signingKeys: keys.map(key => ({ kid: keyIdOf(key.spki), point: key.point, use: 'package' as const })),
      },
      coseSigner(root.key),
    );
  let bundle = await bundleOf(1, [packageKey]);
  const bl2 = image('bootloader ', 1);
  const application = image('application ', 5);
  const programmers = new Map<string, Programmer>();
  const allotments = new Map<string, Allotment>();
  const units: Unit[] = [];
  const bootKeys = new Map<string, Key>();
  const pendingKeks = new Map<string, { agreement: KekAgreement; key: Uint8Array }>();
  const calls: Call[] = [];
  const control: {
    fault: (call: Call) => Fault;
    /** What is handed out as the application, for a server that is wrong. */
    application: UnsignedImage;
    bl2: UnsignedImage;
    jobRunning: boolean;
    /** Whether it looks at the UID list. */
    checkUids: boolean;
    /** What is put into grants instead, and who signs them. */
    grant: Partial<Grant>;
    grantKey: Key;
    /** Takes part in certification, for an interposer that swaps keys. */
    csr: (csr: Uint8Array) => Uint8Array;
  } = { fault: () => undefined, application, bl2, jobRunning: true, checkUids: true, grant: {}, grantKey: packageKey, csr: csr => csr };

  const bootKeyOf = (uid: string, slot: string): Key => {
    const known = bootKeys.get(`${uid} ${slot}`) ?? makeKey();
    bootKeys.set(`${uid} ${slot}`, known);
    return known;
  };
  const imageFor = (unsigned: UnsignedImage, key: Key) => {
    const signature = new Uint8Array(sign('sha256', unsigned.body, key.privateKey));
    const trailer = deviceTrailer({ imageHash: unsigned.imageHash, publicKey: key.spki, keyForm: 'whole', signature });
    return { unsigned, trailer, bytes: attachTrailer(unsigned.body, trailer) };
  };
  const offer = (unsigned: UnsignedImage, key: Key) => ({
    bodySha256: toHex(unsigned.imageHash),
    bodyBytes: unsigned.body.length,
    trailer: toBase64url(imageFor(unsigned, key).trailer),
    version: '1.0.0',
    securityCounter: 5,
  });
  const programmerOf = (uid: string): Programmer => programmers.get(uid) ?? refuse('NOT_FOUND', 'no such programmer');
  const active = (uid: string): void => {
    if (programmerOf(uid).status !== 'ACTIVE') refuse('PROGRAMMER_NOT_ACTIVE', 'only an active programmer reserves');
  };
  const allotmentOf = (jobId: string, programmer: string): Allotment =>
    allotments.get(`${jobId} ${programmer}`) ?? refuse('NOT_FOUND', 'no such allotment');
  const committed = (a: Allotment): number => unitsOf(a).filter(u => u.outcome === 'committed').length;
  const unitsOf = (a: Allotment): Unit[] => units.filter(u => u.jobId === a.jobId && u.programmer === a.programmer);
  const remaining = (a: Allotment): number => a.count - committed(a) - unitsOf(a).filter(u => !u.outcome).length;
  const unitOf = (grantId: string, programmer: string): Unit =>
    units.find(u => u.grantId === grantId && u.programmer === programmer) ?? refuse('NOT_FOUND', 'no such grant');

  /** Known records are skipped, new ones must follow; another history freezes the allotment (T2). */
  const takeLedger = async (a: Allotment, encoded: readonly string[]): Promise<void> => {
    if (encoded.length === 0) refuse('BAD_REQUEST', 'the request carries no ledger record');
    const records = encoded.map(fromBase64url);
    const fresh = records.filter(record => !a.raw.some(known => equalBytes(known, record)));
    const { publicKey } = programmerOf(a.programmer);
    try {
      const verified = await verifyLedgerSegment(fresh, a.ledger, () => publicKey);
      a.ledger = verified.head;
      a.records.push(...verified.records);
      a.raw.push(...fresh);
    } catch (error) {
      a.frozen = true;
      throw error;
    }
  };

  const people: Handler = async ({ method, path, body, query, raw }) => {
    const match = /^\/v1\/programmers(?:\/([0-9a-f]{32})(?:\/([a-z-]+))?)?$/.exec(path);
    if (!match) return undefined;
    const [, uid = '', step] = match;
    if (uid === '') {
      programmers.set(body.uid, programmers.get(body.uid) ?? { status: 'BLANK', epoch: 0 });
      return { uid: body.uid, status: programmerOf(body.uid).status, kekEpoch: 0 };
    }
    const programmer = programmerOf(uid);
    const view = () => ({ uid, status: programmer.status, kekEpoch: programmer.epoch });
    if (method === 'GET' && !step) return view();
    switch (step) {
      case 'csr': {
        const { publicKey } = judgeCsr(fromBase64url(body.csr), { serialNumber: uid });
        if (programmer.publicKey && !equalBytes(programmer.publicKey, publicKey)) refuse('CONFLICT', 'another key');
        programmer.publicKey = publicKey;
        programmer.certificate ??= (
          await issueCertificate('programmer', { ...fields(icas.programmer, publicKey), organization, uid }, icas.programmer.key.signer)
        ).der;
        if (programmer.status === 'BLANK') programmer.status = 'CERTIFIED';
        return chainJson(programmer.certificate, icas.programmer, root);
      }
      case 'boot-key':
        return { publicKey: toBase64url(bootKeyOf(uid, 'programmer').spki) };
      case 'firmware': {
        const unsigned = buildImage({ payload: raw, version, securityCounter: 0, vendorUuid, classUuid });
        return query.get('version') ? imageFor(unsigned, bootKeyOf(uid, 'programmer')).bytes : refuse('BAD_REQUEST', 'no version');
      }
      case 'locked': {
        const expected = { publicKey: programmer.publicKey ?? new Uint8Array(), uid: fromHex(uid), nonce: fromBase64url(body.nonce) };
        if (!provesLock(await verifyReceipt(fromBase64url(body.receipt), expected))) refuse('RECEIPT_REFUSED', 'not locked');
        if (programmer.status === 'CERTIFIED') programmer.status = 'LOCKED';
        return view();
      }
      case 'ship':
        if (programmer.epoch === 0) refuse('STATE', 'no key agreed');
        programmer.status = 'SHIPPED';
        return view();
      default:
        return undefined;
    }
  };

  const kek: Handler = async ({ method, path, body, machine }) => {
    const match = /^\/v1\/programmers\/([0-9a-f]{32})\/(kek(?:\/(\d+))?|check-in)$/.exec(path);
    if (!match) return undefined;
    const [, uid = '', step, epochText] = match;
    const programmer = programmerOf(uid);
    if (uid !== machine()) refuse('FORBIDDEN', 'another programmer');
    if (step === 'check-in') {
      if (programmer.status === 'SHIPPED') programmer.status = 'ACTIVE';
      active(uid);
      return { status: programmer.status };
    }
    if (method === 'POST') {
      const own = createECDH('prime256v1');
      const agreement: KekAgreement = {
        nonceP: fromBase64url(body.nonce),
        nonceC: new Uint8Array(randomBytes(kekNonceBytes)),
        pointP: fromBase64url(body.publicKey),
        pointC: new Uint8Array(own.generateKeys()),
        progUid: fromHex(uid),
        certificateSha256: sha256(programmer.certificate ?? new Uint8Array()),
        epoch: programmer.epoch + 1,
      };
      const { salt, info } = kekKdf(agreement);
      const key = new Uint8Array(hkdfSync('sha256', own.computeSecret(agreement.pointP), salt, info, 32));
      pendingKeks.set(uid, { agreement, key });
      const mac = createHmac('sha256', key).update(kekConfirmation('C', agreement)).digest();
      const { pointC, nonceC, epoch } = agreement;
      return { publicKey: toBase64url(pointC), nonce: toBase64url(nonceC), mac: toBase64url(mac), epoch };
    }
    const pending = pendingKeks.get(uid);
    if (pending?.agreement.epoch !== Number(epochText)) refuse('NOT_FOUND', 'no agreement');
    const expected = createHmac('sha256', pending.key).update(kekConfirmation('P', pending.agreement)).digest();
    if (!timingSafeEqual(expected, fromBase64url(body.mac))) refuse('KEY_REFUSED', 'another key');
    programmer.kek = pending.key;
    programmer.epoch = pending.agreement.epoch;
    return { epoch: programmer.epoch };
  };

  const production: Handler = async ({ path, body, machine }) => {
    if (!path.startsWith('/v1/production/')) return undefined;
    const me = machine();
    active(me);
    const [, , , resource = '', id = '', step = ''] = path.split('/');
    if (resource === 'imports') return importAck(me, body);
    if (resource === 'images')
      return [control.bl2, control.application].find(i => toHex(i.imageHash) === id)?.body ?? refuse('NOT_FOUND', 'no image');
    if (resource === 'jobs') {
      const a = allotmentOf(id, me);
      await takeLedger(a, body.ledger);
      if (a.records.at(-1)?.type !== 'zeroise') refuse('BAD_REQUEST', 'no zeroise record');
      a.zeroised = true;
      return {};
    }
    return id === '' ? reserve(me, body) : unitStep(unitOf(id, me), step, body);
  };

  const importAck = async (me: string, body: Call['body']) => {
    const ack = await verifyPackageAck(fromBase64url(body.acknowledgement), () => programmerOf(me).publicKey);
    const a = allotmentOf(toHex(ack.jobId), me);
    if (!equalBytes(ack.packageId, a.payload.packageId)) refuse('PACKAGE_REPLAYED', 'a newer package supersedes this one');
    if (!equalBytes(ledgerHeadOf(fromBase64url(body.ledger.at(-1) ?? '')), ack.ledgerHead))
      refuse('BAD_REQUEST', 'not the record of the import');
    await takeLedger(a, body.ledger);
    a.imported = toHex(ack.packageId);
    return {};
  };

  const reserve = async (me: string, body: Call['body']) => {
    const a = allotmentOf(body.jobId, me);
    if (a.frozen) refuse('ALLOTMENT_FROZEN', 'the allotment is frozen');
    if (!control.jobRunning) refuse('JOB_NOT_RUNNING', 'the job is not running');
    if (!a.imported) refuse('STATE', 'no package imported');
    await takeLedger(a, body.ledger);
    const last = a.records.at(-1);
    if (last?.type !== 'reserve' || toHex(last.uid ?? new Uint8Array()) !== body.uid)
      refuse('BAD_REQUEST', 'the last record is no reservation');
    const live = unitsOf(a).find(u => u.uid === body.uid && !u.outcome);
    if (live) return grantJson(live);
    if (units.some(u => u.uid === body.uid && (!u.outcome || u.outcome === 'committed' || u.scrap)))
      refuse('UID_CONFLICT', 'a live device has this UID');
    const proof = a.payload.uids && 'merkleRoot' in a.payload.uids ? proveUid(uidsOf.get(a.jobId) ?? [], fromHex(body.uid)) : undefined;
    if (control.checkUids && !isUidAllowed(a.payload.uids, fromHex(body.uid), proof)) refuse('UID_NOT_LISTED', 'not listed');
    if (remaining(a) <= 0) refuse('COUNT_EXHAUSTED', 'the count is used up');
    const ids = { grantId: new Uint8Array(randomBytes(16)), objId: new Uint8Array(randomBytes(16)) };
    const grant = await signGrant(
      {
        ...ids,
        jobId: fromHex(a.jobId),
        uid: fromHex(body.uid),
        progUid: fromHex(me),
        number: unitsOf(a).length + 1,
        expiresAtSeconds: 1_900_000_000,
        ledgerHead: ledgerHeadOf(a.raw.at(-1) ?? new Uint8Array()),
        ...(proof && { uidProof: proof }),
        ...control.grant,
      },
      coseSigner(control.grantKey),
    );
    const unit: Unit = {
      grantId: toHex(ids.grantId),
      objId: toHex(ids.objId),
      grant,
      uid: body.uid,
      jobId: a.jobId,
      programmer: me,
      applications: 0,
    };
    units.push(unit);
    return grantJson(unit);
  };

  const unitStep = async (unit: Unit, step: string, body: Call['body']): Promise<unknown> => {
    const a = allotmentOf(unit.jobId, unit.programmer);
    if (unit.outcome === 'voided' && step !== 'void') refuse('GRANT_USED', 'this unit is voided');
    const key = unit.publicKey ?? new Uint8Array();
    const expected = (label: string) => ({
      publicKey: key,
      uid: fromHex(unit.uid),
      objId: fromHex(unit.objId),
      nonce: nonceFor(label, unit.grantId),
    });
    switch (step) {
      case 'csr': {
        const subject = { commonName: unit.objId, serialNumber: unit.uid };
        const { publicKey } = judgeCsr(control.csr(fromBase64url(body.csr)), subject);
        if (unit.publicKey && !equalBytes(unit.publicKey, publicKey)) refuse('CONFLICT', 'this unit asked with another key');
        unit.publicKey = publicKey;
        unit.certificate ??= (
          await issueCertificate(
            'device',
            { ...fields(icas.device, publicKey), organization, uid: unit.uid, objId: unit.objId },
            icas.device.key.signer,
          )
        ).der;
        return { ...chainJson(unit.certificate, icas.device, root), bundle: toBase64url(bundle) };
      }
      case 'certificate-installed':
        return equalBytes(sha256(unit.certificate ?? new Uint8Array()), fromHex(body.certificateSha256))
          ? {}
          : refuse('DEVICE_STATE', 'another certificate');
      case 'bootloader':
        if (!unit.certificate) refuse('DEVICE_STATE', 'no certificate');
        return { publicKey: toBase64url(bootKeyOf(unit.uid, 'bl2').spki), ...offer(control.bl2, bootKeyOf(unit.uid, 'bl2')) };
      case 'bootloader-installed':
        unit.bootKeyBurned = true;
        return {};
      case 'application-key': {
        const { spki } = bootKeyOf(unit.uid, 'app');
        return { publicKey: toBase64url(spki), publicKeySha256: toHex(sha256(spki)) };
      }
      case 'locked': {
        const receipt = await verifyReceipt(fromBase64url(body.receipt), expected('NuSEC lock receipt'));
        if (!provesLock(receipt) || receipt.stage !== 'bl2') refuse('RECEIPT_REFUSED', 'no proof of the lock');
        unit.locked = true;
        return {};
      }
      case 'session': {
        const nonce = sha256(concat(utf8('NuSEC programming session'), unit.grant));
        await verifyEvidence(decodeEvidence(fromBase64url(body.evidence)), {
          nonce,
          trust: chain =>
            checkChain(chain.toReversed(), { roots: [root.der], now: undefined, purpose: 'device', uid: unit.uid }).point ??
            refuse('CHAIN_REFUSED', 'no key'),
        });
        unit.authenticated = true;
        return {};
      }
      case 'application':
        if (!unit.locked || !unit.authenticated) refuse('DEVICE_STATE', 'no firmware before lock and session');
        if (body.jobId !== unit.jobId || body.objId !== unit.objId) refuse('FIRMWARE_NOT_BOUND', 'another job');
        unit.applications += 1;
        return { ...offer(control.application, bootKeyOf(unit.uid, 'app')), imageHash: toHex(control.application.imageHash) };
      case 'commit': {
        await takeLedger(a, body.ledger);
        if (unit.outcome === 'committed') return { committed: committed(a), remaining: remaining(a) };
        const receipt = await verifyReceipt(fromBase64url(body.receipt), expected('NuSEC commit receipt'));
        if (receipt.stage !== 'app' || !provesImage(receipt, imageIds.bl3, control.application.imageHash))
          refuse('RECEIPT_REFUSED', 'not installed');
        unit.outcome = 'committed';
        return { committed: committed(a), remaining: remaining(a) };
      }
      case 'void':
        await takeLedger(a, body.ledger);
        if (unit.outcome === 'committed') refuse('GRANT_USED', 'this unit is committed');
        Object.assign(unit, { outcome: 'voided', scrap: body.otpTouched, reason: body.reason });
        return {};
      default:
        return refuse('NOT_FOUND', 'no such step');
    }
  };

  const handlers = [kek, people, production];
  const answer = async (call: Call & { query: URLSearchParams; raw: Uint8Array; machine: () => string }): Promise<unknown> => {
    if (call.path === '/v1/trust-bundle') return bundle;
    for (const handler of handlers) {
      const result = await handler(call);
      if (result !== undefined) return result;
    }
    return refuse('NOT_FOUND', `${call.method} ${call.path}`);
  };

  const tls = await serverTls(icas.server, options);
  const server = createServer(
    { ...tls, minVersion: 'TLSv1.3', requestCert: true, rejectUnauthorized: false },
    async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const raw = new Uint8Array(Buffer.concat(chunks));
      const url = new URL(request.url ?? '/', 'https://x');
      const isJson = request.headers['content-type'] === 'application/json';
      const call: Call = {
        method: request.method ?? '',
        path: url.pathname,
        body: isJson && raw.length > 0 ? JSON.parse(Buffer.from(raw).toString()) : {},
      };
      const machine = (): string => machineOf(request.socket as TLSSocket, root, icas.programmer);
      calls.push(call);
      const fault = control.fault(call);
      if (fault === 'lost') return void request.socket.destroy();
      try {
        if (fault instanceof NusecError) throw fault;
        const result = await answer({ ...call, query: url.searchParams, raw, machine });
        if (fault === 'unanswered') return void request.socket.destroy();
        const isBytes = result instanceof Uint8Array;
        response.writeHead(200, { 'Content-Type': isBytes ? 'application/octet-stream' : 'application/json' });
        response.end(isBytes ? result : JSON.stringify(result));
      } catch (error) {
        const code = error instanceof NusecError ? error.code : 'INTERNAL';
        response.writeHead(error instanceof NusecError ? 409 : 500, { 'Content-Type': 'application/problem+json' });
        response.end(
          JSON.stringify({ type: `urn:nusec:problem:${code}`, title: code, status: 409, detail: String((error as Error).message), code }),
        );
      }
    },
  );
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const uidsOf = new Map<string, readonly Uint8Array[]>();

  return {
    url,
    root,
    rootPem: toPem('CERTIFICATE', root.der),
    packageKey,
    application,
    bl2,
    programmers,
    units,
    calls,
    control,
    allotment: allotmentOf,
    /** A newer trust bundle with these keys. */
    publishBundle: async (bundleVersion: number, keys: readonly Key[]) => {
      bundle = await bundleOf(bundleVersion, keys);
    },
    /** Seals a package for a programmer and opens its allotment, or replaces its package. */
    exportPackage: async (
      programmer: string,
      wish: {
        jobId: Uint8Array;
        count: number;
        sequence?: number;
        uids?: UidRule;
        listed?: readonly Uint8Array[];
        scrapAllowance?: number;
      },
      changes: { signer?: Key; key?: Uint8Array; payload?: Partial<PackagePayload> } = {},
    ): Promise<Uint8Array> => {
      const { kek: key = new Uint8Array(32), epoch } = programmerOf(programmer);
      const images = [
        { id: imageIds.bl2, version, sha256: bl2.imageHash, sizeBytes: bl2.body.length, securityCounter: 1, format: 'mcuboot' as const },
        {
          id: imageIds.bl3,
          version,
          sha256: application.imageHash,
          sizeBytes: application.body.length,
          securityCounter: 5,
          format: 'mcuboot' as const,
        },
      ];
      const payload: PackagePayload = {
        version: 1,
        packageId: new Uint8Array(randomBytes(16)),
        jobId: wish.jobId,
        progUid: fromHex(programmer),
        count: wish.count,
        sequence: wish.sequence ?? 1,
        issuedAtSeconds: 1_800_000_000,
        expiresAtSeconds: 1_900_000_000,
        images,
        uids: wish.uids ?? null,
        server: { baseUrl: url, tlsRootKeySha256: sha256(root.key.spki) },
        policy: { ...strictestPolicy, requireUidList: false },
        vendorId: vendorUuid,
        classId: classUuid,
        scrapAllowance: wish.scrapAllowance ?? 0,
        rollbackFloor: 5,
        icaId: 'ica/device/1',
        otpMapVersion: 1,
        ...changes.payload,
      };
      const place = `${toHex(wish.jobId)} ${programmer}`;
      const before = allotments.get(place);
      if (wish.listed) uidsOf.set(toHex(wish.jobId), wish.listed);
      if (!changes.signer && !changes.key) {
        const count = wish.count + (before ? committed(before) : 0);
        const fresh = { jobId: toHex(wish.jobId), programmer, ledger: emptyLedger, records: [], raw: [], quoted: 0 };
        allotments.set(place, { ...fresh, ...before, count, payload });
      }
      const iv = new Uint8Array(randomBytes(12));
      return sealPackage({ payload, epoch, iv }, coseSigner(changes.signer ?? packageKey), sealWith(changes.key ?? key));
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

type Handler = (call: Call & { query: URLSearchParams; raw: Uint8Array; machine: () => string }) => Promise<unknown>;

function refuse(code: ConstructorParameters<typeof NusecError>[0], detail: string): never {
  throw new NusecError(code, detail);
}

const nonceFor = (label: string, grantId: string): Uint8Array => sha256(concat(utf8(label), fromHex(grantId))).slice(0, 16);

const grantJson = ({ grantId, objId, grant }: Unit) => ({ grantId, objId, grant: toBase64url(grant), expiresAt: '2030-01-01T00:00:00Z' });

export const coseSigner = (key: Key): Signer => ({
  kid: keyIdOf(key.spki),
  sign: async input => derToRaw(new Uint8Array(sign('sha256', input, key.privateKey)), 32) ?? new Uint8Array(),
});

const fields = (ica: Authority, publicKey: Uint8Array) => ({
  publicKey,
  serial: serial(),
  notBefore: now,
  issuer: ica.certificate,
  crlUrl,
});

const chainJson = (certificate: Uint8Array, ica: Authority, root: Authority) => ({
  certificate: toBase64url(certificate),
  ica: toBase64url(ica.der),
  root: toBase64url(root.der),
});

async function serverTls(ica: Authority, { dnsNames = ['localhost'], selfSigned = false }: ServerOptions) {
  const key = makeKey();
  const issuer = selfSigned ? await makeIca(await makeRoot(), 'elsewhere') : ica;
  const names = { commonName: 'server', dnsNames, ipAddresses: [] };
  const { der } = await issueCertificate('server', { ...fields(issuer, key.spki), ...names }, issuer.key.signer);
  const cert = toPem('CERTIFICATE', der) + toPem('CERTIFICATE', issuer.der);
  return { cert, key: key.privateKey.export({ type: 'pkcs8', format: 'pem' }) };
}

/** UID of a programmer that came with a certificate under our root (RULE-9). */
function machineOf(socket: TLSSocket, root: Authority, ica: Authority): string {
  const peer = socket.getPeerCertificate();
  if (!peer?.raw) refuse('CLIENT_CERTIFICATE_REQUIRED', 'no client certificate');
  checkChain([new Uint8Array(peer.raw), ica.der], { roots: [root.der], now, purpose: 'programmer' });
  return parseCertificate(new Uint8Array(peer.raw)).uid ?? refuse('CLIENT_CERTIFICATE_REFUSED', 'no UID');
}
