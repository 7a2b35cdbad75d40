// What a pass changed, as lines: in one column or in two. Where both programs agree for long, the lines are left out until asked for.

/** Equal lines that are shown around others, and how many must be left out for it to be worth a button. */
const CONTEXT = 3;
const LEAST_LEFT_OUT = 4;

const MARKS = { "=": "", "-": "−", "+": "+", "<": "←", ">": "→" };
const CLASSES = { "-": "removed", "+": "added", "<": "arrived", ">": "departed" };

const differenceView = {
  id: "difference",
  title: "Difference",
  parts: ["layout"],

  render() {
    if (address.pass === 0) return empty("This is the input: there is no program before it.");
    if (!changesProgram(address.pass)) return empty("This pass changed nothing.");
    const rows = states[stateAfter(address.pass)].difference;
    if (!rows?.some(([kind]) => kind !== "=")) return empty("This pass changed no line of the text.");
    const isSplit = address.layout === "split";
    const root = element("div", { class: "code difference" }, this.stretches(rows).map((stretch) => this.stretch(stretch, isSplit)));
    return [
      element("div", { class: "controls" },
        searchBar(root),
        chooser("layout", "Layout", [["unified", "one column"], ["split", "side by side"]], address.layout, (layout) => ({ layout }))),
      note(this.summary(rows)),
      root,
    ];
  },

  summary(rows) {
    const count = (kind) => rows.filter((row) => row[0] === kind).length;
    const words = [["~", "changed"], ["+", "added"], ["-", "removed"], ["<", "moved here"], [">", "moved away"]];
    const parts = words.filter(([kind]) => count(kind) > 0).map(([kind, word]) => `${integer(count(kind))} ${word}`);
    return `${parts.join(", ")}, of ${counted(rows.length, "line")}.`;
  },

  /** Rows cut where long equality begins and ends. */
  stretches(rows) {
    const isNear = rows.map((_, at) => rows.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(([kind]) => kind !== "="));
    const cut = [];
    rows.forEach((row, at) => {
      if (at === 0 || isNear[at] !== isNear[at - 1]) cut.push({ isShown: isNear[at], rows: [] });
      cut.at(-1).rows.push(row);
    });
    return cut;
  },

  stretch({ isShown, rows }, isSplit) {
    const lines = rows.flatMap((row) => (isSplit ? this.pair(row) : this.lines(row)));
    if (isShown || rows.length < LEAST_LEFT_OUT) return lines;
    const rest = element("div", { hidden: "until-found" }, lines);
    const show = () => {
      rest.hidden = false;
      button.remove();
    };
    rest.addEventListener("beforematch", show);
    const text = `${counted(rows.length, "equal line")}${this.place(rows.at(-1)[2])}`;
    const button = element("button", { class: "left-out", click: show }, text);
    return [button, rest];
  },

  /** Where the text goes on after what is left out. */
  place(line) {
    const state = stateAfter(address.pass);
    const around = openings(state)[line];
    return around > 0 ? `, up to ${foldName(states[state].lines[around][0])}` : "";
  },

  lines([kind, a, b, note]) {
    if (kind === "~") {
      const [before, after] = this.differing(a, b);
      return [this.line("-", a, null, note, before), this.line("+", null, b, null, after)];
    }
    return [this.line(kind, kind === "<" ? null : a, b, note)];
  },

  line(kind, a, b, note, differs) {
    const [state, at] = known(b) ? [stateAfter(address.pass), b] : [stateBefore(address.pass), a];
    return this.code([margin("number", known(a) ? a + 1 : ""), margin("number", known(b) ? b + 1 : "")], kind, state, at, note, differs);
  },

  pair([kind, a, b, note]) {
    const [before, after] = kind === "~" ? this.differing(a, b) : [];
    const side = (state, at, mark, differs, said) =>
      known(at) ? this.code([margin("number", at + 1)], mark, state, at, said, differs) : element("div", { class: "line nothing" });
    const left = side(stateBefore(address.pass), kind === "<" ? null : a, kind === "~" ? "-" : kind, before, known(b) ? null : note);
    const right = side(stateAfter(address.pass), b, kind === "~" ? "+" : kind, after, note);
    return [element("div", { class: "pair" }, left, right)];
  },

  code(columns, kind, state, at, note, differs) {
    const [text, defines] = states[state].lines[at];
    const where = { state, defines, stage: stageOfLine(state, at), before: valueBefore(state, at) };
    const nodes = codeOf(text, where, differs);
    if (note) nodes.push(element("span", { class: "margin said", "data-text": `  ${note}` }));
    return codeLine([columns, margin("mark", MARKS[kind])], text, nodes, { class: CLASSES[kind] });
  },

  differing(a, b) {
    return differingTokens(states[stateBefore(address.pass)].lines[a][0], states[stateAfter(address.pass)].lines[b][0]);
  },
};

/** For two versions of a line the numbers of tokens that the other one has not, by their longest common subsequence. */
function differingTokens(before, after) {
  [before, after] = [before, after].map((line) => tokens(line, true).map((token) => token.text));
  const common = Array.from({ length: before.length + 1 }, () => new Array(after.length + 1).fill(0));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      common[i][j] = before[i] === after[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const [removed, added] = [new Set(before.keys()), new Set(after.keys())];
  for (let i = 0, j = 0; i < before.length && j < after.length; ) {
    if (before[i] === after[j]) {
      removed.delete(i++);
      added.delete(j++);
    } else if (common[i + 1][j] >= common[i][j + 1]) i++;
    else j++;
  }
  return [removed, added];
}
