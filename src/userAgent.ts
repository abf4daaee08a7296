/** Names a browser and its system by what it calls itself (User-Agent, RFC 9110 §10.1.5), for people who look through their sessions. Each browser
 *  also claims to be those before it in history, so the order counts. */

const browsers = [
  ['Edge', /\bEdgA?\/(\d+)/],
  ['Opera', /\bOPR\/(\d+)/],
  ['Samsung Internet', /\bSamsungBrowser\/(\d+)/],
  ['Firefox', /\b(?:Firefox|FxiOS)\/(\d+)/],
  ['Chrome', /\b(?:Headless)?(?:Chrome|CriOS)\/(\d+)/],
  ['Safari', /\bVersion\/(\d+)\S* (?:Mobile\/\S+ )?Safari\//],
] as const;

const systems = [
  ['Android', /\bAndroid\b/],
  ['iOS', /\b(?:iPhone|iPad)\b/],
  ['ChromeOS', /\bCrOS\b/],
  ['Windows', /\bWindows\b/],
  ['macOS', /\bMac OS X\b/],
  ['Linux', /\bLinux\b/],
] as const;

/** `Chrome 140 on Linux`. What is not known stays as it came. */
export function agentWords(agent: string): string {
  const browser = browsers.map(([name, form]) => [name, form.exec(agent)?.[1]] as const).find(([, version]) => version !== undefined);
  if (browser === undefined) return agent;
  const system = systems.find(([, form]) => form.test(agent));
  return `${browser.join(' ')}${system === undefined ? '' : ` on ${system[0]}`}`;
}
