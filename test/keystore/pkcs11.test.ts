import { beforeEach } from 'vitest';
import { describeKeystore } from './contract.ts';
import { makeToken, openToken, type SoftToken } from './softToken.ts';

let token: SoftToken;
beforeEach(() => {
  token = makeToken();
});
describeKeystore('PKCS#11', () => openToken(token));
