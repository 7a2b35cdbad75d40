// Puts the page together, and shows what the address says whenever it changes.

const VIEWS = [programView, differenceView, rulesView, egraphView, graphView, timeView, quantizationView];
if (data.compared) VIEWS.push(comparisonView);

/** What the view was last made from. */
let rendered = null;

function show() {
  address = readAddress();
  const view = VIEWS.find((one) => one.id === address.view);
  const made = JSON.stringify(["pass", "view", ...view.parts].map((part) => address[part]));
  // Whatever had the focus has it again if the new view has it too.
  const focused = document.activeElement?.id;
  const isInPanel = byId("panel").contains(document.activeElement);
  // First, because a view is as wide as the panel lets it be.
  renderPanel();
  if (made !== rendered) {
    rendered = made;
    const panel = element("div", { id: "view", role: "tabpanel", "aria-labelledby": `tab-${view.id}` }, view.render());
    byId("main").replaceChildren(tabs(), element("div", {}, passHeading()), panel);
  }
  markTabs();
  markPass();
  markSelected();
  showSelected();
  view.mark?.();
  const next = isInPanel ? byId("panel") : focused && byId(focused);
  if (next && !next.contains(document.activeElement)) next.focus({ preventScroll: true });
}

function tabs() {
  const tab = ({ id, title }) => linkTo({ view: id }, { role: "tab", id: `tab-${id}`, "aria-controls": "view" }, title);
  return element("div", { role: "tablist", "aria-label": "Views", class: "tabs" }, VIEWS.map(tab));
}

function markTabs() {
  for (const { id } of VIEWS) {
    const tab = byId(`tab-${id}`);
    tab.setAttribute("aria-selected", id === address.view);
    tab.setAttribute("tabindex", id === address.view ? 0 : -1);
  }
}

function toTab(at) {
  const view = VIEWS[(at + VIEWS.length) % VIEWS.length];
  byId(`tab-${view.id}`).focus();
  go({ view: view.id });
}

/** Says which value is selected, and brings its line into sight if it is another one than before. */
let said = "";
function showSelected() {
  const selected = selectedValue();
  const value = selected && valueAt(selected.state, selected.index);
  const words = value ? `%${value.name}. ${ofState(selected.state, value)}` : "";
  if (words === said) return;
  said = words;
  byId("announcement").textContent = words;
  const line = document.querySelector(".program .definition.selected") ?? document.querySelector(".program .selected");
  if (line) bringIntoSight(line);
}

// On paper everything is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
addEventListener("hashchange", show);
renderHeadline();
address = readAddress();
renderTimeline();
listenToKeys();
keepLinksAimed();
show();
