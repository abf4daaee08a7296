import { raw } from 'hono/html';

/** Icons of the navigation: 24 × 24, drawn with lines in the colour of the text. */

const paths = {
  home: 'M3 11l9-7 9 7M5 10v10h14V10',
  fleet: 'M7 7h10v10H7zM10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4',
  gateways: 'M12 13v7M8 20h8M12 13a2 2 0 100-4 2 2 0 000 4M7 15a6 6 0 010-8M17 15a6 6 0 000-8',
  production: 'M3 20V9l6 4V9l6 4V4h6v16zM7 17h2M12 17h2',
  programmers: 'M4 5h16v11H4zM9 20h6M12 16v4M8 9l2 2-2 2M13 13h3',
  series: 'M4 6h16M4 12h16M4 18h10M18 15v6M15 18h6',
  lines: 'M3 8h7l4 8h7M3 16h7M14 8h7',
  releases: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9',
  rollouts: 'M4 19h4v-5H4zM10 19h4V9h-4zM16 19h4V4h-4z',
  trust: 'M12 3l8 3v6c0 5-3.500 8-8 9-4.500-1-8-4-8-9V6zM9 12l2 2 4-4',
  certificates: 'M5 4h14v11H5zM8 8h8M8 11h5M14 15v6l2-1.500 2 1.500v-6',
  revocations: 'M12 21a9 9 0 100-18 9 9 0 000 18M6 6l12 12',
  alarms: 'M6 16V11a6 6 0 0112 0v5l2 2H4zM10 21h4',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7M9 7h3',
  vulnerabilities: 'M12 3l9 17H3zM12 10v4M12 17v.5',
  log: 'M6 7a2 2 0 104 0 2 2 0 00-4 0M14 17a2 2 0 104 0 2 2 0 00-4 0M8 9v3a3 3 0 003 3h3M10 7h8',
  webhooks: 'M4 7h9l-3-3M13 7l-3 3M20 17h-9l3-3M11 17l3 3',
  subjects: 'M12 11a3.500 3.500 0 100-7 3.500 3.500 0 000 7M5 20c0-4 3-6 7-6M15 16l5 5M20 16l-5 5',
  people:
    'M9 11a3.500 3.500 0 100-7 3.500 3.500 0 000 7M3 20c0-4 3-6 6-6s6 2 6 6M16 4.500a3.500 3.500 0 010 6M18 14.500c2 .8 3 2.500 3 5.500',
} as const;

export type IconName = keyof typeof paths;

export const icon = (name: IconName) =>
  raw(`<svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true" focusable="false"><path d="${paths[name]}"/></svg>`);
