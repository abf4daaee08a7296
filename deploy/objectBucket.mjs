// objectBucket.mjs URL BUCKET [FOLDER]: makes the bucket in the object store at URL; one that is there stays. The access key (KEY:SECRET) is in
// /run/secrets/objects-credentials.
import { readFileSync } from 'node:fs';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

const [endpoint, Bucket, folder = '/run/secrets'] = process.argv.slice(2);
const [, accessKeyId, secretAccessKey] = /^([^:]+):(.+)$/.exec(readFileSync(`${folder}/objects-credentials`, 'utf8').trim()) ?? [];
const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
try {
  await client.send(new CreateBucketCommand({ Bucket }));
  console.log(`objectBucket: ${Bucket} made`);
} catch (error) {
  if (!['BucketAlreadyOwnedByYou', 'BucketAlreadyExists'].includes(error.name)) throw error;
  console.log(`objectBucket: ${Bucket} was there`);
}
