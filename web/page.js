// Keeps the page as new as what is in force. The server renders; this asks for the revision, and when it has
// changed fetches the page again and takes over the sections that differ. What a reader does meanwhile (an open list,
// the focus, a selection) stays.

const PERIOD_MS = 2000;
const TIMEOUT_MS = 5000;

const live = document.getElementById("live");
let revision = document.body.dataset.revision;

async function ask(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response;
}

const isSelecting = () => !document.getSelection().isCollapsed;

function keepOpen(from, to) {
  for (const details of from.querySelectorAll("details[open]")) {
    const same = to.querySelector(`details[data-key="${CSS.escape(details.dataset.key)}"]`);
    if (same) same.open = true;
  }
}

function takeOver(page) {
  const main = document.querySelector("main");
  const focused = document.activeElement?.closest("main details")?.dataset.key;
  const old = new Map([...main.children].map((section) => [section.id, section]));
  const sections = [...page.querySelectorAll("main > section")].map((section) => {
    const before = old.get(section.id);
    if (before) keepOpen(before, section);
    return before?.outerHTML === section.outerHTML ? before : document.adoptNode(section);
  });
  main.replaceChildren(...sections);
  document.querySelector("footer").replaceWith(document.adoptNode(page.querySelector("footer")));
  if (focused) main.querySelector(`details[data-key="${CSS.escape(focused)}"] > summary`)?.focus();
}

function tell(text, isLost) {
  if (live.textContent !== text) live.textContent = text;
  live.classList.toggle("lost", isLost);
}

async function refresh() {
  if (document.hidden || isSelecting()) return;
  try {
    const status = await (await ask("status")).json();
    if (status.revision !== revision) {
      const text = await (await ask(location.href)).text();
      const page = new DOMParser().parseFromString(text, "text/html");
      takeOver(page);
      revision = page.body.dataset.revision;
    }
    tell("Live", false);
  } catch {
    tell("Connection lost: what is shown is old", true);
  }
}

async function loop() {
  await refresh();
  setTimeout(loop, PERIOD_MS);
}

loop();
