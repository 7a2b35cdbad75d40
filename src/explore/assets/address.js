// What is shown is in the address, so that each view can be linked to and the browser's buttons go back and forth.

/** Parts of the address in the order in which they are written. `at` is the pass after which `value` is meant, if not `pass`. */
const PARTS = ["pass", "view", "value", "stage", "at", "rule", "edit", "region", "class", "layout", "scope", "color", "variant", "within"];

/** Parts that mean something for one pass only. */
const OF_PASS = ["rule", "edit", "region", "class"];

/** What is shown now. */
let address = {};

/** Reads the address; what it lacks or what makes no sense is as on opening the page. */
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const read = Object.fromEntries(PARTS.map((part) => [part, given.get(part)]));
  const pass = (text) => (/^\d+$/.test(text) && Number(text) <= passes.length ? Number(text) : null);
  read.pass = pass(read.pass) ?? 0;
  read.at = pass(read.at);
  if (!VIEWS.some((view) => view.id === read.view)) read.view = "program";
  return read;
}

/** The address of what is shown now with some parts changed. */
function addressWith(changes) {
  const next = { ...address, ...changes };
  if (known(changes.pass) && changes.pass !== address.pass) {
    for (const part of OF_PASS) next[part] = changes[part];
  }
  const written = PARTS.filter((part) => known(next[part])).map((part) => `${part}=${encodeURIComponent(next[part])}`);
  return `#${written.join("&")}`;
}

function go(changes) {
  location.hash = addressWith(changes);
}

/**
 * What links change of the address, or a function that says it. All else is to stay as it is at the moment of the click, which may
 * be long after the link was made: links are aimed anew before they are used.
 */
const targets = new WeakMap();

function aimed(link, changes) {
  targets.set(link, changes);
  return aim(link);
}

function aim(link) {
  const changes = targets.get(link);
  link.setAttribute("href", addressWith(typeof changes === "function" ? changes() : changes));
  return link;
}

function keepLinksAimed() {
  const listen = (event) => {
    const link = event.target.closest?.("a");
    if (targets.has(link)) aim(link);
  };
  for (const use of ["pointerover", "focusin", "click"]) document.addEventListener(use, listen, true);
}

/** The changes of the address that select a value; `as` is its name with a round, if one was pointed at. */
function toValue(state, index, as) {
  const isShown = stateAfter(address.pass) === state;
  return { ...addressName(state, index, as), at: isShown ? null : passOf(state) };
}

/** The changes that go to another pass, where the selected value is followed to what it is there. */
function toPass(pass) {
  const selected = selectedValue();
  if (!selected) return { pass };
  const state = stateAfter(pass);
  const index = follow(selected.state, selected.index, state);
  if (known(index)) return { pass, ...addressName(state, index), at: null };
  return { pass, ...addressName(selected.state, selected.index), at: passOf(selected.state) };
}

/** The value that the address selects: its state and its index there. */
function selectedValue() {
  if (!known(address.value)) return null;
  const state = stateAfter(address.at ?? address.pass);
  const index = findValue(state, address.value.replace(/^%/, ""), { stage: address.stage });
  return known(index) ? { state, index } : null;
}
