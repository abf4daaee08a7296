import type { IsoTime } from './actor.ts';

/** What happens to the store itself. Stream `store`. */

/** Kinds of holders of certificates. */
export const certificateKinds = ['device', 'programmer', 'gateway', 'server', 'ocspSigner', 'ica', 'root'] as const;
export type CertificateKind = (typeof certificateKinds)[number];

export type StoreEvent =
  /** A certificate was revoked or on hold before the store was put back: it is again. The store may not know the certificate otherwise. */
  {
    readonly type: 'CertificateRevocationRestored';
    readonly data: {
      readonly serial: string;
      readonly kind: CertificateKind;
      readonly subject: string;
      readonly icaId: string;
      readonly crlPartition?: number;
      readonly sha256: string;
      readonly issuedAt: IsoTime;
      readonly notAfter: IsoTime;
      readonly reason: string;
      readonly revokedAt: IsoTime;
    };
  };

export const storeStream = 'store';
