import { it } from 'vitest';
import { type ReleaseVersionCommand, releaseVersion } from '../../src/domain/releaseVersion.ts';
import { play, scenario } from './scenario.ts';

const reserve: ReleaseVersionCommand = { type: 'ReserveReleaseVersion', version: '1.2.0', releaseId: 'r1' };
const on = (...commands: readonly ReleaseVersionCommand[]) => scenario(releaseVersion).given(...play(releaseVersion, commands).events);

it('belongs to one release permanently', () => {
  on()
    .when(reserve)
    .givesOnce({ type: 'ReleaseVersionReserved', data: { releaseId: 'r1' } });
  on(reserve)
    .when({ ...reserve, releaseId: 'r2' })
    .refused('CONFLICT');
});
