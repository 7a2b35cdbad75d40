// What keys do; the page's help lists them.

function toNeighbor(step) {
  const pass = address.pass + step;
  if (pass >= 0 && pass <= passes.length) go(toPass(pass));
}

/** To the next match, or the next application of a rule. */
function toNext(step) {
  if (address.view === "rules") rulesView.go(step);
  else showMatch(search.at + step);
}

function startSearch() {
  if (!byId("search")) {
    // The field is there once the program is.
    addEventListener("hashchange", () => byId("search")?.focus(), { once: true });
    go({ view: "program" });
  }
  byId("search")?.select();
}

/** The focus goes back to where the value was chosen, or nearly. */
function closeValue() {
  if (!known(address.value)) return;
  const link = byId("main").querySelector(".selected");
  go({ value: null, stage: null, at: null });
  link?.focus();
}

const KEYS = {
  j: () => toNeighbor(1),
  k: () => toNeighbor(-1),
  n: () => toNext(1),
  p: () => toNext(-1),
  v: () => byId("close")?.focus(),
  "/": startSearch,
  "?": () => byId("help").showModal(),
  Escape: closeValue,
};

/** In the list of passes and among the views arrows go on to the next one. */
function arrows(event) {
  const inTimeline = event.target.closest("#timeline");
  const inTabs = event.target.closest("[role=tablist]");
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step || (!inTimeline && !inTabs)) return;
  event.preventDefault();
  if (inTabs) return toTab(VIEWS.findIndex((view) => view.id === address.view) + step);
  toNeighbor(step);
  byId(`pass-${Math.min(Math.max(0, address.pass + step), passes.length)}`).focus();
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, dialog");
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    arrows(event);
    const act = KEYS[event.key] ?? (VIEWS[event.key - 1] && (() => toTab(event.key - 1)));
    if (!act || event.defaultPrevented) return;
    event.preventDefault();
    act();
  });
}
