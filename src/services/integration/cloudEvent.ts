import type { RecordedEvent } from '../../eventstore/port.ts';

/** An event in the envelope that MES, ERP and SIEM know (CloudEvents 1.0, JSON format). */
export const cloudEvent = (project: string, { id, type, at, by, stream, position, revision, hash, data }: RecordedEvent) => ({
  ...{ specversion: '1.0', id, source: `urn:nusec:${project}`, type: `nusec.${type}`, subject: stream, time: at },
  ...{ datacontenttype: 'application/json', position, revision, hash, by, data },
});
