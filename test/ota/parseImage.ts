import { NusecError } from '../../src/errors.ts';
import { type ImageHeader, type ImageTlvs, readHeader, readImageTlvs, slotReader } from '../../src/ota/image.ts';

/** Shape of a whole file: header and TLVs. Bytes after the TLV area (a trailer, padding) are allowed, as in imgtool's `--pad`.
 *  @throws NusecError IMAGE_MALFORMED with the flaw */
export function parseImage(bytes: Uint8Array): ImageTlvs & { readonly header: ImageHeader } {
  const slot = slotReader(bytes, bytes.length);
  const header = readHeader(slot);
  if (typeof header === 'string') throw new NusecError('IMAGE_MALFORMED', header);
  const tlvs = readImageTlvs(slot, header);
  if (typeof tlvs === 'string') throw new NusecError('IMAGE_MALFORMED', tlvs);
  return { header, ...tlvs };
}
