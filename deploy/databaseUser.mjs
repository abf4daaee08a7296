// databaseUser.mjs URL [FOLDER]: has the KurrentDB at URL know the user of /run/secrets/kurrentdb-credentials (USER:PASSWORD), who is no administrator.
// The password of the administrator is in /run/secrets/kurrentdb-admin. A user that exists gets this password.
import { readFileSync } from 'node:fs';

const [url, folder = '/run/secrets'] = process.argv.slice(2);
const secret = name => readFileSync(`${folder}/${name}`, 'utf8').trim();
const [, loginName, password] = /^([^:]+):(.+)$/.exec(secret('kurrentdb-credentials')) ?? [];
const authorization = `Basic ${Buffer.from(`admin:${secret('kurrentdb-admin')}`).toString('base64')}`;

const post = (path, body) =>
  fetch(`${url}/users/${path}`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    redirect: 'follow',
  });

const made = await post('', { loginName, fullName: 'NuSEC servers', groups: [], password });
const answer = made.status === 409 ? await post(`${loginName}/command/reset-password`, { newPassword: password }) : made;
if (!answer.ok) {
  console.error(`databaseUser: ${url} answers ${answer.status} ${await answer.text()}`);
  process.exit(1);
}
console.log(`databaseUser: ${loginName} ${made.ok ? 'made' : 'was there; it has this password now'}`);
