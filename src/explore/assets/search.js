// Search in the lines that are shown, in whatever is folded or elided too. Matches are painted as highlights, which change no
// element; a browser without them still goes from line to line.

const search = { query: "", root: null, matches: [], at: -1 };

/** The field, its buttons and the count, for the lines in `root`. */
function searchBar(root) {
  const says = { "aria-label": "Search in the lines", placeholder: "Search" };
  const input = element("input", { type: "search", id: "search", value: search.query, ...says });
  const count = element("output", { for: "search", id: "matches" });
  input.addEventListener("input", () => {
    findMatches(root, input.value);
    showMatch(0);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") showMatch(search.at + (event.shiftKey ? -1 : 1));
    if (event.key !== "Escape") return;
    findMatches(root, (input.value = ""));
    input.blur();
    event.stopPropagation();
  });
  search.count = count;
  findMatches(root, search.query);
  return element("search", {}, input,
    element("button", { "aria-label": "Previous match", click: () => showMatch(search.at - 1) }, "↑"),
    element("button", { "aria-label": "Next match", click: () => showMatch(search.at + 1) }, "↓"),
    count);
}

function findMatches(root, query) {
  const wanted = query.toLowerCase();
  Object.assign(search, { query, root, matches: [], at: -1 });
  for (const line of wanted ? root.querySelectorAll(".text") : []) {
    const text = line.textContent.toLowerCase();
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
      search.matches.push({ line, range: rangeIn(line, at, at + wanted.length) });
    }
  }
  CSS.highlights?.set("found", new Highlight(...search.matches.map((match) => match.range)));
  CSS.highlights?.delete("current");
  sayMatch();
}

/** The characters `start` to `end` of an element's text. */
function rangeIn(line, start, end) {
  const range = new Range();
  const texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  for (let at = 0, node; at < end && (node = texts.nextNode()); at += node.length) {
    if (start >= at && start < at + node.length) range.setStart(node, start - at);
    if (end <= at + node.length) range.setEnd(node, end - at);
  }
  return range;
}

/** Goes to a match; after the last one comes the first. */
function showMatch(at) {
  const { matches } = search;
  if (matches.length === 0) return;
  search.at = (at + matches.length) % matches.length;
  const { line, range } = matches[search.at];
  CSS.highlights?.set("current", new Highlight(range));
  search.root.querySelector(".line.current")?.classList.remove("current");
  line.closest(".line").classList.add("current");
  bringIntoSight(line);
  sayMatch();
}

function sayMatch() {
  const { query, matches, at } = search;
  const found = at < 0 ? `${matches.length} found` : `${at + 1} of ${matches.length}`;
  search.count.textContent = query === "" ? "" : matches.length === 0 ? "nothing found" : found;
}

/** Scrolls to a line, out of whatever it is folded into. */
function bringIntoSight(line) {
  for (let around = line; around; around = around.parentElement) {
    if (around.tagName === "DETAILS") around.open = true;
    if (around.hidden) around.previousElementSibling?.click();
  }
  // Where lines are that have not been laid out is only supposed.
  line.closest(".code").classList.add("whole");
  line.closest(".line").scrollIntoView({ block: "nearest" });
}
