/** What the port offers. A new operation has to be added here, by someone who asked whether it is an export. */
export const operations = [
  'close',
  'derive',
  'destroy',
  'generate',
  'generateWrapped',
  'health',
  'list',
  'mac',
  'publicKey',
  // Out of one wrapping into another of the keystore's own, never in the clear.
  'rewrap',
  'seal',
  'sign',
  // A signature as the one before, on a condition.
  'signProven',
  'signWrapped',
];
