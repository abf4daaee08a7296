import { describe, expect, it } from 'vitest';
import { startWebhookReceiver } from '../../../support/webhookReceiver.ts';
import { act, at, clicked, notice, shown } from './kit.ts';

/** What is clicked for alarms, webhooks and the log. */

export function clickOversight(): void {
  describe('oversight', () => {
    it('alarms are assigned, silenced and acknowledged', async () => {
      await act('olga', '/console/alarms', 'Assign', { Person: 'otto' }, 'OTP_FOREIGN');
      await act('olga', '/console/alarms', 'Silence', { 'For how long': '8', Reason: 'known' }, 'OTP_FOREIGN');
      await act('otto', '/console/alarms?state=silenced', 'Acknowledge', { 'What was done': 'looked at' }, 'OTP_FOREIGN');
    });

    it('a webhook is added, tested, gets another secret, and goes; what one could not deliver is tried again and given up', async () => {
      const receiver = await startWebhookReceiver();
      const fields = {
        Name: 'mes',
        Address: receiver.url,
        'Only these types': 'KeystoreMigrated',
        'Authorities of the receiver': receiver.certificate,
      };
      const added = await act('alice', '/console/webhooks', 'Add a webhook', fields);
      receiver.useSecret((await added.locator('#secret').textContent()) ?? '');
      expect(await notice(await act('alice', '/console/webhooks/mes', 'Test'))).toContain('The receiver took the message');
      await act('alice', '/console/webhooks/mes', 'New secret');
      await act('alice', '/console/webhooks/mes', 'Remove…');
      await receiver.close();
      await act('alice', '/console/webhooks/old', 'Try again');
      await act('alice', '/console/webhooks/old', 'Give up…', { Reason: 'it is over' });
    });

    it('the log is looked at; no event is parked for a follower that follows', async () => {
      const page = await at('olga', '/console/do/park-event?follower=read+model+devices&position=1');
      await page.getByLabel('Reason').fill('a drill');
      await page.getByLabel('Type park to confirm').fill('park');
      await page.locator('form.action .buttons button').click();
      expect(await page.getByRole('alert').textContent()).toContain('stands before no event, not before event 1');
      clicked.add('park-event');
      expect(await shown(await at('ada', '/console/log'))).toContain('read model devices');
    });
  });
}
