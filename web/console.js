/* What the console does in the browser besides htmx: the menu of narrow screens, the pause of what follows the log, times in the reader's zone,
   the boxes that choose several rows, and authenticators. Every page but those of authenticators works without it. */

const find = (selector, root = document) => root.querySelector(selector);

/** The selection survives a refresh, which replaces attributes only. */
function showSelection() {
  const boxes = [...document.querySelectorAll('input.select')];
  const chosen = boxes.filter(box => box.checked).length;
  const bulk = find('#bulk');
  if (bulk === null) return;
  bulk.hidden = chosen === 0;
  find('#bulk-count').textContent = `${chosen} selected`;
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
function showLocalTimes() {
  for (const time of document.querySelectorAll('time[datetime]')) time.title = `${time.dateTime}\n${local.format(new Date(time.dateTime))}`;
}

document.addEventListener('click', event => {
  const { target } = event;
  const menu = target.closest?.('button.menu');
  if (menu !== null && menu !== undefined) {
    const isOpen = document.body.classList.toggle('menu-open');
    menu.setAttribute('aria-expanded', String(isOpen));
  }
  const pause = target.closest?.('#pause');
  if (pause !== null && pause !== undefined) {
    const isPaused = pause.getAttribute('aria-pressed') !== 'true';
    pause.setAttribute('aria-pressed', String(isPaused));
    pause.textContent = isPaused ? 'Paused' : 'Live';
    document.body.classList.toggle('paused', isPaused);
  }
});
// A page that is paused hears nothing.
document.addEventListener(
  'changed',
  event => {
    if (document.body.classList.contains('paused')) event.stopImmediatePropagation();
  },
  true,
);
document.addEventListener('change', event => {
  if (event.target.id === 'select-all') for (const box of document.querySelectorAll('input.select')) box.checked = event.target.checked;
  showSelection();
});
/** Forms that an authenticator signs: the field `webauthn-create` or `webauthn-get` says what for; what it gives goes into the field before it. */
const base64url = text =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
async function askAuthenticator(wish) {
  const { challenge, options } = JSON.parse(wish.value);
  const credential =
    wish.name === 'webauthn-create'
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  return base64url(JSON.stringify({ challenge, response: credential.toJSON() }));
}
document.addEventListener('submit', event => {
  const form = event.target;
  const wish = find('input[name^="webauthn-"]', form);
  const given = find('input[name="registration"], input[name="confirmation"]', form);
  if (wish === null || given === null || given.value !== '') return;
  event.preventDefault();
  askAuthenticator(wish)
    .then(answer => {
      given.value = answer;
      wish.remove();
      form.requestSubmit();
    })
    .catch(error => {
      const place = find('[role="alert"]', form) ?? form.insertBefore(document.createElement('div'), form.firstChild);
      place.className = 'problem';
      place.setAttribute('role', 'alert');
      place.hidden = false;
      place.textContent = `The authenticator gave no answer: ${error.message}`;
    });
});
document.addEventListener('keydown', event => {
  const isTyping = /^(input|select|textarea)$/i.test(event.target.tagName);
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey) {
    const search = find('.filters input');
    if (search === null) return;
    event.preventDefault();
    search.focus();
  }
});
document.addEventListener('htmx:after:swap', () => {
  showSelection();
  showLocalTimes();
});
showSelection();
showLocalTimes();
