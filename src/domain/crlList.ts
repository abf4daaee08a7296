/** The revocation lists of an authority. Its certificates are divided into partitions in the order in which they are issued, each with a list of its own
 *  (RFC 5280 §5.2.5): the first one, 0, has those from before there were partitions too. */

/** Certificates of one partition, all of which may be revoked; the next ones belong to the next partition. What is under way when it fills up comes
 *  on top, so it is filled less than the 50 000 entries that a list may have. */
export const certificatesPerList = 49_000;

/** A certificate says where its list is from the day it is issued. */
export type InList = {
  readonly icaId: string;
  /** Default: 0. */
  readonly crlPartition?: number;
};
export type CrlList = Required<InList>;

/** Names a list: `{icaId}`, from the second partition on `{icaId}/{partition}`. Its address ends with it. */
export const listIdOf = ({ icaId, crlPartition = 0 }: InList): string => (crlPartition === 0 ? icaId : `${icaId}/${crlPartition}`);

export function listOf(listId: string): CrlList {
  const [icaId = '', partition = '0'] = listId.split('/');
  return { icaId, crlPartition: Number(partition) };
}

/** The partition of a certificate as its events have it: nothing for the first one. */
export const partitionFact = (crlPartition: number | undefined): { readonly crlPartition?: number } =>
  crlPartition === undefined || crlPartition === 0 ? {} : { crlPartition };
