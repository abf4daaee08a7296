/** What the deliveries of this process have done, for /metrics. Only the leader has any. */

export type WebhookFigure = {
  readonly name: string;
  readonly delivered: number;
  readonly failed: number;
  readonly deadLetters: number;
  readonly position: number;
};
type Note = {
  attempted(isDelivered: boolean): void;
  /** Dead letters. */
  standing(count: number): void;
  /** Position in the log. */
  reached(position: number): void;
};
export type WebhookFigures = { of(name: string): Note; forget(name: string): void; all(): readonly WebhookFigure[] };

export function createWebhookFigures(): WebhookFigures {
  const byName = new Map<string, WebhookFigure>();
  return {
    of(name) {
      const change = (news: (known: WebhookFigure) => Partial<WebhookFigure>): void => {
        const known = byName.get(name) ?? { name, delivered: 0, failed: 0, deadLetters: 0, position: 0 };
        byName.set(name, { ...known, ...news(known) });
      };
      return {
        attempted: isDelivered => change(({ delivered, failed }) => (isDelivered ? { delivered: delivered + 1 } : { failed: failed + 1 })),
        standing: deadLetters => change(() => ({ deadLetters })),
        reached: position => change(() => ({ position })),
      };
    },
    forget: name => byName.delete(name),
    all: () => [...byName.values()],
  };
}
