import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NusecError } from '../../errors.ts';

/** What a backup is: the files it has, and `backup.json`, which names each with its length and SHA-256 and says of which keystore it is. */

export const manifestName = 'backup.json';

const count = z.number().int().min(0);
const manifestSchema = z.strictObject({
  format: z.literal(1),
  at: z.string(),
  /** SHA-256 of the first RootCA certificate. */
  project: z.string(),
  /** Events in the log, and the hash of the last. */
  events: count,
  newestHash: z.string(),
  /** Where the keys are, which are not part of the backup: the driver, and the key of the first RootCA with the SHA-256 of its SubjectPublicKeyInfo. */
  keystore: z.strictObject({ driver: z.enum(['software', 'pkcs11']), keyId: z.string(), publicKeySha256: z.string() }),
  files: z.array(z.strictObject({ path: z.string(), bytes: count, sha256: z.string() })),
});
export type Manifest = z.infer<typeof manifestSchema>;
export type BackupFile = Manifest['files'][number];

/** Names that may be in a backup; so that nothing of it is written elsewhere. */
const allowed =
  /^(?:events\.db|log\.checkpoint|root\.pem|nusec\.json|attestations\.db|subjects\.db|custody(?:-pkcs11)?\.db|blobs\/[0-9a-f]{2}\/[0-9a-f]{62})$/;
export const isBackupPath = (path: string): boolean => path === manifestName || allowed.test(path);

/** Every file of a folder that a backup has, measured. */
export async function filesIn(folder: string): Promise<readonly BackupFile[]> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(path => allowed.test(path));
  const files: BackupFile[] = [];
  for (const path of paths.toSorted())
    files.push({ path, bytes: statSync(join(folder, path)).size, sha256: await sha256Of(join(folder, path)) });
  return files;
}

/** @throws NusecError BACKUP_DAMAGED (no manifest, or a file is missing, more, or another) */
export async function readManifest(folder: string): Promise<Manifest> {
  const file = join(folder, manifestName);
  if (!existsSync(file))
    throw new NusecError('BACKUP_DAMAGED', `${folder} has no ${manifestName}: it is no backup, or one that was not finished`);
  const parsed = manifestSchema.safeParse(jsonOf(readFileSync(file, 'utf8')));
  if (!parsed.success) throw new NusecError('BACKUP_DAMAGED', `${file} is not the manifest of a backup`);
  const found = new Map((await filesIn(folder)).map(each => [each.path, each]));
  for (const { path, bytes, sha256 } of parsed.data.files) {
    const known = found.get(path);
    if (known?.bytes !== bytes || known.sha256 !== sha256)
      throw new NusecError('BACKUP_DAMAGED', `${path} is ${known ? 'not what was backed up' : 'missing'}`);
    found.delete(path);
  }
  for (const path of found.keys()) throw new NusecError('BACKUP_DAMAGED', `${path} was not backed up`);
  return parsed.data;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
