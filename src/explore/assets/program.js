// The program after a pass as text, rolled. Stages and blocks fold, and stay folded from pass to pass.

/** What is folded: the beginnings of first lines, which name a stage or a block. */
const folded = new Set();
const foldName = (text) => text.trim().replace(/ \(.*/, "");

const programView = {
  id: "program",
  title: "Program",
  parts: [],

  render() {
    const state = stateAfter(address.pass);
    const { lines, values } = states[state];
    const most = Math.max(1, ...values.map((value) => value.ns ?? 0));
    const isMeasured = values.some((value) => known(value.measured_ms));
    const root = element("div", { class: "code program" });
    const open = [root];
    lines.forEach(([text], at) => {
      const line = this.line(state, at, most, isMeasured);
      // The program as a whole does not fold.
      if (/^ .*\{$/.test(text)) {
        const fold = element("details", { open: !folded.has(foldName(text)) }, element("summary", {}, line));
        fold.addEventListener("toggle", () => (fold.open ? folded.delete(foldName(text)) : folded.add(foldName(text))));
        open.at(-1).append(fold);
        open.push(fold);
        return;
      }
      open.at(-1).append(line);
      if (text.trim() === "}" && open.length > 1) open.pop();
    });
    const setAll = (isOpen) => () => root.querySelectorAll("details").forEach((fold) => (fold.open = isOpen));
    return [
      element("div", { class: "controls" },
        searchBar(root),
        element("button", { click: setAll(false) }, "Fold all"),
        element("button", { click: setAll(true) }, "Unfold all")),
      note(this.legend(state, isMeasured)),
      root,
    ];
  },

  /** A line with its number, what it costs, and how it differs from the program before. */
  line(state, at, most, isMeasured) {
    const [text, index] = states[state].lines[at];
    const value = known(index) ? valueAt(state, index) : null;
    const time = margin("time", value && known(value.ns) ? duration(value.ns) : "");
    if (value?.ns > 0) time.style.setProperty("--share", value.ns / most);
    const columns = [margin("number", at + 1), time];
    if (isMeasured) columns.push(margin("time", known(value?.measured_ms) ? milliseconds(value.measured_ms) : ""));
    const where = { state, defines: index, stage: stageOfLine(state, at), before: value ? index : valueBefore(state, at) };
    const change = value && hasChanged(state, index) ? { class: value.change, title: ofState(state, value) } : {};
    return codeLine(columns, text, codeOf(text, where), change);
  },

  legend(state, isMeasured) {
    const measured = isMeasured ? "; those in the second column are measured" : "";
    const times = data.machine ? `Times are estimated for ${data.machine}, in all rounds of a block${measured}. ` : "";
    return times + (state > 0 ? `A bar on the left marks what ${passName(passOf(state))} made, changed or moved.` : "");
  },
};

/** The stage that a line is in, if it is in one. */
function stageOfLine(state, at) {
  const { lines, stages } = states[state];
  for (let line = at; line >= 0; line = openings(state)[line]) {
    const text = lines[line][0].trim();
    const stage = stages.find((name) => text.startsWith(`${name} (`));
    if (stage) return stage;
  }
  return undefined;
}

/** One past the last value that is defined before a line. */
function valueBefore(state, at) {
  const { lines } = states[state];
  for (let line = at; line >= 0; line--) {
    if (known(lines[line][1])) return lines[line][1] + 1;
  }
  return 0;
}
