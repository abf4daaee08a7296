/** EST (RFC 7030) as the description shows it: its messages are no JSON, so its routes declare nothing themselves. */

const pkcs7 = { content: { 'application/pkcs7-mime': { schema: { type: 'string', contentEncoding: 'base64' } } } };
const certificates = { 200: { description: 'certificates, PKCS#7, base64', ...pkcs7 } };
const request = {
  required: true,
  content: {
    'application/pkcs10': { schema: { type: 'string', contentEncoding: 'base64', description: 'PKCS#10 request, DER in base64' } },
  },
};
const byCertificate = [{ clientCertificate: [] }];

export const estPaths = {
  '/.well-known/est/cacerts': { get: { summary: 'The certificates of the authorities', security: [], responses: { ...certificates } } },
  '/.well-known/est/csrattrs': {
    get: {
      summary: 'What a request has to contain',
      security: [],
      responses: { 200: { description: 'CsrAttrs, base64', content: { 'application/csrattrs': { schema: { type: 'string' } } } } },
    },
  },
  '/.well-known/est/simpleenroll': {
    post: { summary: 'Certifies a key for the first time', security: byCertificate, requestBody: request, responses: { ...certificates } },
  },
  '/.well-known/est/simplereenroll': {
    post: { summary: 'Renews a certificate', security: byCertificate, requestBody: request, responses: { ...certificates } },
  },
};
