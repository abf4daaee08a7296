/* What the console does in the browser besides htmx: the menu of narrow screens, the pause of what follows the log, times in the reader's zone,
   and the boxes that choose several rows. Every page works without it. */

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
