import { z } from 'zod';
import { isBase64 } from '../bytes.ts';

/** Bytes in a file that is checked: base64 with padding, in its one spelling, so that nobody changes the file and it still fits. */
export const base64Bytes = z.base64().refine(isBase64, 'not the one spelling of bytes in base64');
