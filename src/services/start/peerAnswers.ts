import type { ConnectionAnswers } from '../field/clusterChannel.ts';
import type { FileAnswers } from '../firmware/otaFiles.ts';

/** What server processes ask each other for: what only the one can do that has the connection of a machine. */
export type PeerAnswers = ConnectionAnswers & FileAnswers;
export const peerQuestions = [
  'order',
  'attestThroughGateway',
  'attest',
  'otaFile',
  'otaRun',
] as const satisfies readonly (keyof PeerAnswers)[];
