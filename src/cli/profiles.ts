import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { NusecError } from '../errors.ts';

/** Profiles: which server, which root certificate and whose token file, by a name, in one file of the person. The token itself is never in it. */

export type Profile = { readonly server: string; readonly ca?: string; readonly tokenFile?: string };
export type Profiles = { readonly current?: string; readonly profiles: Readonly<Record<string, Profile>> };

export const profilesFile = (): string =>
  process.env.NUSEC_PROFILES ?? join(process.env.XDG_CONFIG_HOME ?? join(homedir(), '.config'), 'nusec', 'profiles.json');

/** @throws NusecError BAD_REQUEST when the file is no list of profiles */
export function readProfiles(): Profiles {
  let text: string;
  try {
    text = readFileSync(profilesFile(), 'utf8');
  } catch {
    return { profiles: {} };
  }
  try {
    const { current, profiles } = JSON.parse(text) as Profiles;
    return { profiles: { ...profiles }, ...(typeof current === 'string' && { current }) };
  } catch (cause) {
    throw new NusecError('BAD_REQUEST', `${profilesFile()} is not what \`nusec profile\` wrote: mend or delete it`, { cause });
  }
}

export function writeProfiles(profiles: Profiles): void {
  mkdirSync(dirname(profilesFile()), { recursive: true, mode: 0o700 });
  writeFileSync(profilesFile(), `${JSON.stringify(profiles, undefined, 2)}\n`, { mode: 0o600 });
}

/** The profile in use: NUSEC_PROFILE, or the one that was chosen last. */
export function currentProfile(): Profile | undefined {
  const { current, profiles } = readProfiles();
  const name = process.env.NUSEC_PROFILE ?? current;
  return name !== undefined && Object.hasOwn(profiles, name) ? profiles[name] : undefined;
}

/** Before anything is sent: the profile that the environment names must not be a slip, or the command would talk to another server.
 *  @throws NusecError NOT_FOUND */
export function requireProfile(name = process.env.NUSEC_PROFILE): void {
  if (name !== undefined && !Object.hasOwn(readProfiles().profiles, name))
    throw new NusecError('NOT_FOUND', `there is no profile ${name}: nusec profile list shows them`);
}
