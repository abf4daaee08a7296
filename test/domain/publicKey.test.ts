import { describe, it } from 'vitest';
import { type PublicKeyCommand, publicKey } from '../../src/domain/publicKey.ts';
import { covers } from '../support/covers.ts';
import { play, scenario } from './scenario.ts';

describe('a public key', () => {
  const reserve: PublicKeyCommand = { type: 'ReservePublicKey', kind: 'device', uid: 'u1', objId: 'o1' };
  const onKey = (...commands: readonly PublicKeyCommand[]) => scenario(publicKey).given(...play(publicKey, commands).events);

  it('belongs to one holder for ever (I4, T26)', () => {
    covers('I4', 'T26');
    onKey()
      .when(reserve)
      .givesOnce({ type: 'PublicKeyReserved', data: { kind: 'device', uid: 'u1', objId: 'o1' } });
    onKey(reserve)
      .when({ ...reserve, uid: 'u2' })
      .refused('WEAK_OR_CLONED_KEY');
    onKey(reserve)
      .when({ ...reserve, kind: 'programmer' })
      .refused('WEAK_OR_CLONED_KEY');
  });

  it('stays with a unit that is retried under a new registration id', () => {
    onKey(reserve)
      .when({ ...reserve, objId: 'o2' })
      .gives();
  });
});
