import { NusecError } from '../errors.ts';

/** The address of an object store: `s3://BUCKET[/PREFIX][?endpoint=https://HOST:PORT&region=NAME]`. Without an endpoint it is Amazon's. */

export type Address = {
  readonly bucket: string;
  /** Empty, or ending in a slash. */
  readonly prefix: string;
  readonly endpoint?: string;
  readonly region: string;
};

const form = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[a-zA-Z0-9._-]{1,64}){0,4})\/?(?:\?(.*))?$/;
const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);

/** @throws NusecError BAD_REQUEST */
export function parseAddress(url: string): Address {
  const match = url.match(form);
  if (match === null) throw refused('the address of the object store is s3://BUCKET/PREFIX?endpoint=https://HOST:PORT');
  const [, bucket = '', path = '', query = ''] = match;
  const fields = new URLSearchParams(query);
  const unknown = [...fields.keys()].find(name => name !== 'endpoint' && name !== 'region');
  if (unknown !== undefined) throw refused(`the address of the object store has endpoint and region, not ${unknown}`);
  const endpoint = fields.get('endpoint') ?? undefined;
  if (endpoint !== undefined) requireSafe(endpoint);
  return {
    bucket,
    prefix: path === '' ? '' : `${path.slice(1)}/`,
    region: fields.get('region') ?? 'us-east-1',
    ...(endpoint !== undefined && { endpoint }),
  };
}

function requireSafe(endpoint: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url === undefined || url.username !== '' || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw refused('the endpoint of the object store is not https://HOST:PORT');
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw refused('the object store is on another machine, so it is reached over https only');
}

const refused = (why: string): NusecError => new NusecError('BAD_REQUEST', why);
