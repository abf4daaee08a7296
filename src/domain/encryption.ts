/** Encrypted firmware: what a line asks for, and which variant of a release a device gets. */

export type LineEncryption = {
  /** Whose key the content keys are wrapped for: one of each device, made in the chip, or one that the line's bootloader is built with. */
  readonly scheme: 'device' | 'line';
  /** AES; 128 is what every encrypting bootloader of MCUboot knows. */
  readonly bits: 128 | 256;
  /** No device of the line gets a plain image any more. */
  readonly only: boolean;
  /** The image of a device names its UID and is refused by any other one; needs `only`. */
  readonly uidBound: boolean;
  /** Point of the line's key, 65 bytes, base64url; with scheme `line`. The private half is not here. */
  readonly publicKey?: string;
};

/** The encrypted variant of a release: the same payload, with another flag in the header and so another image hash. */
export type EncryptedVariant = {
  readonly bits: 128 | 256;
  /** Image hash; with `uidBound` SHA-256 of the part that all devices share. */
  readonly imageHash: string;
  /** Blob of what production writes: the flag is set and the payload is in clear. With `uidBound` without the protected TLVs. */
  readonly bodySha256: string;
  readonly size: number;
  /** Key of the keystore that the content key comes from. */
  readonly contentKeyId: string;
  readonly uidBound: boolean;
};

type Decrypting = { readonly encryptionKey?: string | undefined };
type Encrypted = { readonly encrypted?: EncryptedVariant | undefined };

/** The point that a device's content key is wrapped for; undefined: it can decrypt nothing. */
export const encryptionPointOf = (line: LineEncryption | undefined, device: Decrypting): string | undefined =>
  line?.scheme === 'line' ? line.publicKey : line && device.encryptionKey;

/** What a device of this line gets of a release; `undefined`: nothing, as the line accepts encrypted images only. */
export function variantFor(line: LineEncryption | undefined, release: Encrypted, device: Decrypting): 'plain' | 'encrypted' | undefined {
  if (release.encrypted !== undefined && encryptionPointOf(line, device) !== undefined) return 'encrypted';
  return line?.only === true ? undefined : 'plain';
}

/** Whether a release may go to the line at all. */
export const isEncryptedEnough = (line: LineEncryption | undefined, release: Encrypted): boolean =>
  line?.only !== true || release.encrypted !== undefined;
