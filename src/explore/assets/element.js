// Makes elements. Names and texts of the data may come from files that nobody vouches for, so they only ever become text nodes and
// attributes; nothing on this page reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; an attribute that is a function listens to the event of its name. */
function element(name, attributes = {}, ...children) {
  return complete(document.createElement(name), attributes, children);
}

function svgElement(name, attributes = {}, ...children) {
  return complete(document.createElementNS(SVG, name), attributes, children);
}

function complete(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (known(value) && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => known(child) && child !== false));
  return made;
}

const byId = (id) => document.getElementById(id);

/** A link that changes the address. */
const linkTo = (changes, attributes, ...children) => aimed(element("a", attributes, ...children), changes);

/** A path that may break after its dots, though not after those of `{0..19}`; else it would break anywhere. */
const breakable = (path) => path.split(/(?<=\w\.)(?=[a-z_])/i).map((part, at) => [at > 0 && element("wbr"), part]);

const note = (...children) => element("p", { class: "note" }, ...children);
const empty = (text) => element("p", { class: "empty" }, text);
const code = (...children) => element("code", {}, ...children);
const small = (...children) => element("small", {}, ...children);

/** Items as a list without marks. */
const plainList = (items, className = "plain") => element("ul", { class: className }, items.map((item) => element("li", {}, item)));

/** What is folded away until asked for. */
const foldedAway = (summary, ...children) => element("details", {}, element("summary", {}, summary), ...children);

/** A select that follows `chosen`; choosing goes to the address that `changes` gives for the option's value. */
function chooser(id, label, options, chosen, changes) {
  const select = element("select", { id, change: (event) => go(changes(event.target.value)) });
  for (const [value, text] of options) {
    select.append(element("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return element("label", {}, label, select);
}

/** The title of a column of numbers, which stand to the right. */
const numeric = (title) => ({ title });

/** A table of rows, each a list of cells or an element; the first cell of a row names it. */
function table(titles, rows, attributes = {}) {
  const kinds = titles.map((title) => (typeof title === "object" ? "number" : null));
  const cell = (content, column) =>
    column === 0 ? element("th", { scope: "row" }, content) : element("td", { class: kinds[column] }, content);
  const head = titles.map((title, column) => element("th", { scope: "col", class: kinds[column] }, title.title ?? title));
  const body = rows.map((row) => (row instanceof Element ? row : element("tr", {}, row.map(cell))));
  return element("div", { class: "scroll" },
    element("table", attributes, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body)));
}

/** Names and what they are, for a `dl`; what is not known is left out. */
function facts(pairs) {
  const told = pairs.filter(([, value]) => known(value) && value.length !== 0);
  const fact = ([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value));
  return element("dl", { class: "facts" }, told.map(fact));
}
