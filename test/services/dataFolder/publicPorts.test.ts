import { expect, it } from 'vitest';
import { readSettings } from '../../../src/config.ts';
import { covers } from '../../support/covers.ts';
import { openProject } from '../project.ts';

/** Behind a balancer or a translation of addresses the ports that machines know are not those that the server listens on. */

it('names the public ports in packages and certificates', async () => {
  covers('R105');
  const project = await openProject(
    undefined,
    {},
    {
      NUSEC_PUBLIC_HOST: 'nusec.example.com',
      NUSEC_PUBLIC_HTTPS_PORT: '443',
      NUSEC_PUBLIC_CRL_PORT: '80',
    },
  );
  try {
    expect(project.ctx.apiBaseUrl).toBe('https://nusec.example.com:443');
    const { parsed } = await project.newDevice();
    expect(parsed.crlUrl).toMatch(/^http:\/\/nusec\.example\.com:80\/crl\//);
    expect(parsed.ocspUrl).toBe('http://nusec.example.com:80/ocsp');
  } finally {
    await project.close();
  }
});

it('has no public port 0', () => {
  expect(() => readSettings('/nowhere', { NUSEC_PUBLIC_HTTPS_PORT: '0' })).toThrow(/publicHttpsPort/);
});
