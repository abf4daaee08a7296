import { oid, sequence, setOf } from './derWriter.ts';
import { oids } from './oids.ts';

/** What a request should be made with (EST, RFC 7030 §4.5.2): a P-256 key, signed with ECDSA over SHA-256. Everything else comes from the profile. */
export const csrAttributes: Uint8Array = sequence(sequence(oid(oids.ecPublicKey), setOf(oid(oids.p256))), oid(oids.ecdsaSha256));
