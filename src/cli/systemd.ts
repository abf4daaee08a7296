import { spawn } from 'node:child_process';

/** Tells systemd that a service of `Type=notify` is ready, so that a restart is over only then (deploy/nusec@.service). By systemd's own tool: the
 *  message is a datagram to a Unix socket, which Node cannot send. Elsewhere nothing happens. */
export function notifyReady(): void {
  const { NOTIFY_SOCKET, PATH } = process.env;
  if (NOTIFY_SOCKET === undefined) return;
  const failed = (why: string): void => console.error(`systemd was not told that the server is ready: systemd-notify ${why}`);
  spawn('systemd-notify', ['--ready'], { env: { NOTIFY_SOCKET, PATH }, stdio: 'ignore' })
    .on('error', ({ message }) => failed(message))
    .on('exit', status => status !== 0 && failed(`ended with ${status}`));
}
