import { describe, expect, it } from 'vitest';
import { toPem } from '../../../../src/pki/pem.ts';
import { connectDevice } from '../../../gateway/fieldKit.ts';
import { makeKey } from '../../../pki/support.ts';
import { newUid } from '../../../services/parties.ts';
import { covers } from '../../../support/covers.ts';
import { act, at, notice, server, shown, site, spare, unit, unlockable } from './kit.ts';

/** What an officer clicks for devices, gateways and programmers. */

export function clickDevices(): void {
  describe('an officer and one device', () => {
    it('tags, attests, quarantines, suspends and releases it', async () => {
      const path = `/console/fleet/${unit(0).uid}`;
      expect(await shown(await act('olga', path, 'Tags', { Add: 'pilot hall-7' }))).toContain('hall-7, pilot');
      await act('olga', path, 'Attestation key', { 'Public key': toPem('PUBLIC KEY', makeKey().spki) });
      expect(await shown(await act('olga', path, 'Attest now'))).toContain('passed');
      await act('olga', path, 'Quarantine', { Reason: 'odd traffic' });
      await act('olga', path, 'Release', { Reason: 'it was a test' });
      await act('olga', path, 'Suspend', { Reason: 'lost for a day' });
      await act('olga', path, 'Resume');
      expect(await shown(await at('ada', path))).toContain('hash chain unbroken');
    });

    it('repairs, revokes and decommissions others', async () => {
      covers('I16');
      const path = `/console/fleet/${unlockable.uid}`;
      const other = await connectDevice(server, unlockable);
      await other.hello();
      const page = await at('olga', path);
      // The page follows the log.
      await page.getByRole('link', { name: 'Take for repair' }).waitFor();
      await other.close();
      await act('olga', path, 'Take for repair', { Reason: 'the display', 'UID of the programmer': spare.active });
      await act('olga', path, 'Ask for debug unlock', { Reason: 'it does not boot' });
      await act('otto', path, 'Approve debug unlock');
      await act('olga', path, 'Order return');
      await act('olga', `/console/fleet/${unit(2).uid}`, 'Revoke…', { 'Reason (RFC 5280)': 'keyCompromise' });
      await act('otto', `/console/fleet/${unit(3).uid}`, 'Decommission…', { Reason: 'end of life' });
    });
  });

  describe('gateways', () => {
    it('are registered, get and lose devices, are held and revoked', async () => {
      await act('olga', '/console/gateways', 'Register a gateway', { Id: 'hall-2', Name: 'Hall 2' });
      await act('olga', '/console/gateways', 'Attach a device', { 'UID of the device': unit(4).uid }, 'Gateway hall-1');
      await act('olga', '/console/gateways', 'Detach', {}, unit(4).uid);
      await act('olga', '/console/gateways', 'Suspend', { Reason: 'moved' }, 'Gateway hall-1');
      await act('olga', '/console/gateways', 'Resume', {}, 'Gateway hall-1');
      await act('olga', '/console/gateways', 'Attach a device', { 'UID of the device': unit(5).uid }, 'Gateway hall-1');
      await act('olga', '/console/gateways', 'Revoke…', { Reason: 'sold' }, 'Gateway hall-2');
    });
  });

  describe('programmers', () => {
    it('are registered, shipped, held, reported stolen, taken back and retired', async () => {
      const page = await act('olga', '/console/programmers', 'Register a programmer', { UID: newUid(), Name: 'NuLink3 no. 9' });
      expect(await notice(page)).toContain('registered');
      await act('olga', `/console/programmers/${spare.ready}`, 'Ship', { Manufacturer: site });
      await act('olga', `/console/programmers/${spare.ready}`, 'Back at the OEM');
      await act('otto', `/console/programmers/${spare.ready}`, 'Retire…');
      await act('otto', `/console/programmers/${spare.active}`, 'Suspend', { Reason: 'audit' });
      await act('otto', `/console/programmers/${spare.active}`, 'Resume');
      await act('otto', `/console/programmers/${spare.active}`, 'Revoke…', { Reason: 'not needed' });
      await act('otto', `/console/programmers/${spare.stolen}`, 'Report stolen…', { 'What happened': 'a break-in' });
    });
  });
}
