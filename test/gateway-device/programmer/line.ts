import { expect } from 'vitest';
import { type OemServer, startOemServer } from './oemServer.ts';
import { importCode, preparedProgrammer, removeFolders, type TestProgrammer } from './programmerFixture.ts';

/** What the tests of production begin with: a server and a programmer that was prepared by it. */

export type Line = { readonly server: OemServer; readonly programmer: TestProgrammer };

export async function startLine(...wrap: Parameters<typeof startOemServer>): Promise<Line> {
  const server = await startOemServer(...wrap);
  return { server, programmer: await preparedProgrammer(server) };
}

/** The same with a job that the programmer has imported. */
export async function startLineWithJob(
  wish: Parameters<OemServer['newJob']>[1],
  ...wrap: Parameters<typeof startOemServer>
): Promise<Line & { readonly jobId: string }> {
  const line = await startLine(...wrap);
  const { jobId, file } = await line.server.newJob(line.programmer.uid, wish);
  expect(await importCode(line.programmer.core, file)).toBe('OK');
  return { ...line, jobId };
}

export async function endLine({ server, programmer }: Line): Promise<void> {
  await programmer.stop();
  await server.close();
  removeFolders();
}
