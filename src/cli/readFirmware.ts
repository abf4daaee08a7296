import { flashBytesOf } from '../ota/firmwareFile.ts';
import { readBytes } from './client.ts';

/** Firmware of any format that is known, as it goes to flash. @throws NusecError NOT_FOUND, IMAGE_MALFORMED, BODY_TOO_LARGE */
export const readFirmware = (file: string): Uint8Array => flashBytesOf(readBytes(file, 'firmware'));
