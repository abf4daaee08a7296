import type { Resource } from './app.ts';
import { consoleResource } from './console/routes.ts';
import { operatorsResource } from './operators.ts';
import { systemResource } from './system.ts';

/** Every resource of the API, in the order of the document. */
export const resources: readonly Resource[] = [consoleResource, systemResource, operatorsResource];
