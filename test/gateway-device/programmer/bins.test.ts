import { expect, it } from 'vitest';
import { binOfVoided } from '../../../gateway-device/programmer/runner.ts';

/** Where a handler puts a chip whose unit came to nothing. */

it('sends a chip that is refused for what it is aside, so that no handler tries it again and again', () => {
  for (const code of ['UID_NOT_LISTED', 'UID_CONFLICT', 'WEAK_OR_CLONED_KEY', 'WRONG_PRODUCT'] as const)
    expect(binOfVoided({ code, isScrap: false }), code).toBe('reject');
  expect(binOfVoided({ code: 'DEVICE_STATE', isScrap: false })).toBe('retry');
  expect(binOfVoided({ code: 'UID_CONFLICT', isScrap: true })).toBe('scrap');
});
