import { writeFileSync } from 'node:fs';
import { problemOf } from '../src/api/problem.ts';
import { type ErrorCode, errorCodes, NusecError } from '../src/errors.ts';

/** Writes docs/troubleshooting.md: every error code with its HTTP status, its meaning and what to do next. Codes and meanings come from the product;
 *  a code without a line here does not compile. `npm run troubleshooting` writes, a test checks that the page is current. */

const retry = 'Wait and send the same request again; with an `Idempotency-Key` nothing is done twice.';
const look = 'Read the thing again (`show`): its state says what is possible.';
const mend = 'Mend the sender: the text says where the message is malformed.';
const disk = 'Look at the disk of the server: room, rights, mount. It goes on by itself once the disk can be written.';
const suspect = 'Treat it as an attack until you know better: look at the alarms and the audit of the subject.';
const renew = 'Renew the certificate (`nusec gateway run` and devices do so by themselves), or enrol again.';

const nextSteps = {
  BAD_REQUEST: 'Mend the field that the text names; `--help` and `/docs` show what is taken.',
  BODY_TOO_LARGE: 'Send less: 256 KiB, firmware 8 MiB.',
  MEDIA_TYPE: 'Send the Content-Type that `/docs` shows for the route.',
  METHOD_NOT_ALLOWED: 'Use a method that the answer names in `Allow`; `/docs` shows what each does.',
  NOT_FOUND: 'Check the id. What is beyond the scope of your account is not found either.',
  CONFLICT: look,
  PRECONDITION_FAILED: 'Somebody changed it meanwhile: read it again and decide again.',
  IDEMPOTENCY_KEY_REUSED: 'Use a new key for a new request.',
  NOT_OFFERED: 'Use one of the operations that the text names.',
  KEYGEN_REFUSED: 'Make the key where it is used, and send a certification request.',
  RATE_LIMITED: 'Ask less often, or have another officer allow more (`nusec operator allowance`).',
  UNAUTHENTICATED: 'Give a token: `--token-file`, `NUSEC_TOKEN_FILE`, or `nusec profile set`.',
  FORBIDDEN: 'Ask an administrator for the role that the text names; `nusec whoami` shows yours.',
  TOKEN_EXPIRED: 'Ask an administrator for another token, or use the recovery codes ([people.md](people.md)).',
  SIGN_IN_FAILED: 'Begin the sign-in again in the same browser; the log of the server has the cause.',
  CLIENT_CERTIFICATE_REQUIRED: 'This route is for machines: connect with the client certificate.',
  CLIENT_CERTIFICATE_REFUSED: 'The certificate is of another kind or not of this project: use the one that belongs to this machine.',
  FOUR_EYES_REQUIRED: 'Have another person do this step.',
  PROPOSAL_EXPIRED: 'A proposal waits seven days for another person: who still wants it proposes it again.',
  CONFIRMATION_REQUIRED: 'Approve it in the console, where your authenticator confirms it.',
  CONFIRMATION_REFUSED: 'Begin again in the console with an authenticator that is registered there.',
  PASSWORD_DISCLOSED: 'The debug password is given out once: order a return, and the next generation gets another.',
  STATE: look,
  INTERNAL: 'A fault of the server: its log has the request id. Report it.',
  SERVER_UNREACHABLE: 'Check address, port, network and that the server runs (`/readyz`).',
  PORT_TAKEN: 'End the other process, or give another port by the option that the text names.',
  LISTEN_FAILED: 'Give an address of this machine, or the right to the port.',
  FOLDER_IN_USE: 'End the process that uses the folder.',
  FOLDER_MISSING: 'Make it with `nusec init`, or correct `--data`.',
  FOLDER_REFUSED: 'Give the folder to the user who runs the server, mode 700.',
  CLOSE_TIMEOUT: 'The process ended by force; the next start takes up what is on the disk.',
  CBOR_MALFORMED: mend,
  COSE_MALFORMED: mend,
  COSE_SIGNATURE: suspect,
  COSE_DECRYPT: 'The message is for another receiver, or was changed: send it again from the source.',
  DER_MALFORMED: mend,
  MCTP_MALFORMED: mend,
  LINK_FAILED: 'Check the wire and the address that the text names.',
  LINK_TIMEOUT: 'Check power and wire of the device, then try again.',
  DEBUG_LOCKED: 'The debug port is closed for good; a repair opens it once, under four eyes ([repair.md](repair.md)).',
  TOPIC_FORBIDDEN: 'A client uses its own topics only ([mqtt.md](mqtt.md)).',
  PACKET_TOO_LARGE: 'Send smaller packets ([mqtt.md](mqtt.md)).',
  REVISION_CONFLICT: retry,
  STREAM_EXISTS: look,
  STREAM_NOT_FOUND: 'Check the id.',
  EVENT_TOO_LARGE: 'Send less in one request.',
  STORE_CLOSED: retry,
  STORE_DAMAGED: '`nusec log verify` names the first event that does not hold; restore a backup ([backup.md](backup.md)).',
  STORE_OLDER: 'An older store was put back: restore the newest backup, or accept it as the text says ([backup.md](backup.md)).',
  STORE_UNAVAILABLE: `${disk} The same for KurrentDB and the object store, where they are used: can they be reached?`,
  STORE_FULL: disk,
  STORE_READ_ONLY: disk,
  LEADERSHIP_OVER: retry,
  TOO_MANY_SERVERS: 'End a server process before you start another.',
  PROJECTION_BEHIND: 'The read models catch up: `/readyz` shows how far they are. Try again then.',
  BLOB_NOT_FOUND: 'Restore the file `blobs/` from a backup.',
  BLOB_DAMAGED: 'Restore the file `blobs/` from a backup.',
  BLOB_TOO_LARGE: 'Send less.',
  CHECKPOINT_MALFORMED: mend,
  CHECKPOINT_REFUSED: suspect,
  BACKUP_DAMAGED: 'Use another backup; look for what changed this one.',
  EVIDENCE_MALFORMED: 'Export the evidence again.',
  EVIDENCE_REFUSED: 'The text names the step that does not hold: do not trust the file.',
  KEYSTORE_MISSING: 'Put keyset, key file, passphrase or PIN file where the text says.',
  KEYSTORE_LOCKED: 'End the tool that works with the keystore.',
  KEYSTORE_DAMAGED: 'Restore it from the key backup ([keystore.md](keystore.md)).',
  KEYSTORE_WRONG_PASSPHRASE:
    'Give the passphrase or key file that the keystore was sealed with. After a rotation on another machine: bring the new one here.',
  KEYSTORE_PERMISSIONS: 'chmod 600 the key file.',
  KEYSTORE_UNAVAILABLE: 'Bring the PKCS#11 token back, or make room when the text says that it is full; the server goes on by itself.',
  KEY_NOT_FOUND: 'Check the id of the key.',
  KEY_EXISTS: 'Use another id.',
  KEY_REFUSED: 'Make a P-256 or P-384 key as the text says.',
  CSR_MALFORMED: mend,
  CSR_TOO_LARGE: 'A request is at most 2 KiB.',
  CSR_SIGNATURE: 'Sign the request with the key that is in it.',
  CSR_ALGORITHM: 'Sign with ECDSA and SHA-256 or SHA-384.',
  CSR_SUBJECT: 'Name the machine that the certificate of the connection is for.',
  OCSP_MALFORMED: mend,
  WEAK_OR_CLONED_KEY: suspect,
  CERTIFICATE_MALFORMED: mend,
  CERTIFICATE_TOO_LARGE: 'Use shorter names.',
  CERTIFICATE_EXPIRED: renew,
  CERTIFICATE_REVOKED:
    'A machine that is suspended is let in again when it is resumed. What is revoked stays so: enrol the machine again if it is trusted.',
  CHAIN_REFUSED: 'Use a certificate of this project, and the trust bundle that is current.',
  CA_NOT_ACTIVE: 'Establish and activate an issuing CA (`nusec ca`).',
  UID_CONFLICT: 'Another live unit has this UID: look at it in the fleet.',
  UID_NOT_LISTED: 'Add the chip to the list of the job, or take another chip.',
  COUNT_EXHAUSTED: 'Raise the share or plan another job.',
  COUNT_OVER_PLAN: 'Give smaller shares, or plan a larger job.',
  PROGRAMMER_NOT_ACTIVE: 'The programmer has to be shipped, checked in and not suspended.',
  JOB_NOT_RUNNING: 'Release or resume the job.',
  PACKAGE_MALFORMED: 'Export the package again.',
  PACKAGE_REFUSED: 'Export the package for this programmer.',
  PACKAGE_REPLAYED: 'Import the newest package.',
  PACKAGE_EXPIRED: 'Export a new package (`--replace`).',
  GRANT_EXPIRED: 'Begin the unit again.',
  GRANT_USED: 'The unit has ended: begin another.',
  LEDGER_GAP: 'The programmer sends its ledger again from where it ended.',
  LEDGER_SIGNATURE: suspect,
  RECEIPT_REFUSED: 'Read the receipt of this unit again; otherwise void the unit.',
  GRANT_REFUSED: 'The grant is for another unit or step: begin the unit again.',
  ORDER_REFUSED: 'Give the order again; it is signed for one device and one time.',
  DEVAUTH_MALFORMED: mend,
  DEVAUTH_REFUSED: 'The text has what the target said.',
  VALUES_EXHAUSTED: 'Extend the series (nusec series add), then export the package again and import it.',
  ALLOTMENT_FROZEN: 'Find out why it was frozen, then thaw it.',
  SPDM_MALFORMED: mend,
  SPDM_UNEXPECTED: 'Begin the exchange again.',
  EVIDENCE_UNSUPPORTED:
    'The device gives another kind of evidence than its line asks for, or a form of it that is not read here ([attestation.md](attestation.md)).',
  SPDM_UNSUPPORTED:
    'The device has to speak SPDM 1.2 or later with the algorithms of [spdm.md](spdm.md), and what its line asks for. A unit in production waits: change what the line asks for, and put the chip in again.',
  SPDM_SIGNATURE: suspect,
  SPDM_RECORD: 'Begin the SPDM exchange again.',
  SPDM_BUSY: retry,
  ATTESTATION_FAILED: 'The reason says what is not as the release says; quarantine the device.',
  IMAGE_MALFORMED: 'Build the image with imgtool, or upload the raw binary.',
  IMAGE_REFUSED: 'The text says what the bootloader would refuse.',
  FIRMWARE_NOT_BOUND: 'Bind a bootloader and an application to the job.',
  WRONG_PRODUCT: 'Use a release of the line.',
  WRONG_SITE: 'Use a programmer that was shipped to the site of the job.',
  DEVICE_STATE: look,
  DEVICE_UNREACHABLE: 'Wait until the device is connected, or go by way of its gateway.',
  RELEASE_STATE: look,
  ROLLBACK: 'Use a release whose security counter is not lower.',
  ALREADY: 'Nothing is to be done.',
  DOWNGRADE: 'Permit it in the plan if it is meant (`permitDowngrade`).',
  COUNTER_EXHAUSTED: 'The line has no counter left: plan its successor.',
  ENCRYPTION_REQUIRED:
    'Upload the firmware again (that makes the encrypted variant) and bind jobs again; a device without a certified encryption key gets one at repair.',
  COUNTER_JUMP: 'Use the next counter, or permit the jump (`--counter-jump` of a release, `--permit-counter-jump` of a rollout).',
  SUPERSEDED: 'Nothing is to be done: the device gets the better release.',
  OFFER_STANDS: 'Nothing is to be done: the device has the offer.',
  SBOM_REFUSED: 'The text says what the bill of materials lacks.',
  NOTE_REFUSED: 'The text says what the note lacks.',
} as const satisfies Record<ErrorCode, string>;

/** The page as it has to be. */
export function troubleshootingPage(): string {
  const rows = [...errorCodes].sort().map(code => {
    const [status, title] = problemOf(new NusecError(code, ''));
    return `| \`${code}\` | ${status} | ${title} | ${nextSteps[code]} |`;
  });
  return `# Troubleshooting

Every refusal has a code: in the answer of the API (\`code\`), on the command line (\`error CODE\`), in the console under the sentence. The text beside it says what was wrong in your case; this page says what to do next.
Written by \`npm run troubleshooting\`.

| code | HTTP | meaning | what to do next |
|---|---|---|---|
${rows.join('\n')}
`;
}

if (process.argv[1] === import.meta.filename) writeFileSync(new URL('../docs/troubleshooting.md', import.meta.url), troubleshootingPage());
