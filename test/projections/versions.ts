/** By file of each read model: the version that it has, the hash of what decides its tables and rows, and which declarations outside of the file that is. */
export const versions: Readonly<
  Record<string, { readonly version: number; readonly sha256: string; readonly decidedBy: readonly string[] }>
> = {
  'projections/alarms.ts': { version: 8, sha256: 'a545bb4168b80a5b', decidedBy: [] },
  'projections/certificates.ts': { version: 8, sha256: '87a382efbcd3d289', decidedBy: [] },
  'projections/components.ts': { version: 1, sha256: '33ed07d3802b1251', decidedBy: [] },
  'projections/decommissions.ts': { version: 2, sha256: 'fc186744b32be838', decidedBy: ['domain/deviceState.ts timedOut'] },
  'projections/devices.ts': { version: 10, sha256: '15717558f3903996', decidedBy: ['domain/deviceStatus.ts'] },
  'projections/gateways.ts': { version: 2, sha256: '4f7dcd358feb0eec', decidedBy: ['domain/gateway.ts gatewayWalk', 'domain/walk.ts'] },
  'projections/jobs.ts': {
    version: 5,
    sha256: '9a0fad298144b616',
    decidedBy: [
      'projections/units.ts',
      'domain/jobState.ts jobStatusAfter',
      'domain/jobState.ts jobWalk',
      'domain/allotmentState.ts allotmentAfter',
      'domain/allotmentState.ts statusAfter',
      'domain/allotmentState.ts fromCounts',
      'domain/walk.ts',
    ],
  },
  'projections/programmers.ts': {
    version: 2,
    sha256: 'eabe7d96d361e914',
    decidedBy: ['domain/programmer.ts programmerWalk', 'domain/walk.ts'],
  },
  'projections/releases.ts': { version: 1, sha256: '66b9fc772544920b', decidedBy: ['domain/release.ts releaseWalk', 'domain/walk.ts'] },
  'projections/rollouts.ts': { version: 3, sha256: 'df4cf6450a8a3ff8', decidedBy: ['domain/rollout.ts rolloutWalk', 'domain/walk.ts'] },
  'projections/vulnerabilities.ts': { version: 1, sha256: '5808c8b1374a0f7c', decidedBy: [] },
  'projections/webhooks.ts': { version: 1, sha256: '619b6dedf5cbb0e3', decidedBy: [] },
};
