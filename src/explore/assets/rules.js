// Rules of a pass: how often each was tried and fired, and its applications one after another.

const rulesView = {
  id: "rules",
  title: "Rules",
  parts: ["rule", "edit"],

  render() {
    if (address.pass === 0) return empty("This is the input: no rule has run.");
    const { rules, edits } = passes[address.pass - 1];
    if (rules.length === 0 && edits.length === 0) return empty("This pass is not made of rules.");
    return [this.tables(rules, edits), edits.length > 0 ? this.stepper(edits) : empty("No rule of this pass rewrote anything.")];
  },

  tables(rules, edits) {
    const [fired, others] = [rules.filter((rule) => rule.hits > 0), rules.filter((rule) => rule.hits === 0)];
    return [
      fired.length > 0 && this.table(fired, edits),
      others.length > 0 && foldedAway(`${counted(others.length, "rule")} found nothing to do`, this.table(others, edits)),
    ];
  },

  table(rules, edits) {
    // Rules of e-graphs are not applied one by one.
    const isListed = (name) => edits.some((edit) => edit.rule === name);
    const titles = ["Rule", "Pattern", numeric("Tried"), numeric("Fired"), numeric("Took")];
    const row = ({ name, pattern, tries, hits, seconds: time }) => {
      const title = isListed(name) ? linkTo({ rule: name, edit: 1 }, {}, name) : name;
      return [title, code(pattern), integer(tries), integer(hits), seconds(time)];
    };
    return table(titles, rules.map(row), { class: "wide" });
  },

  /** The applications that the filter leaves. */
  shown() {
    const edits = passes[address.pass - 1]?.edits ?? [];
    return address.rule ? edits.filter((edit) => edit.rule === address.rule) : edits;
  },

  /** Goes on by `step` applications, if there are so many. */
  go(step) {
    const next = this.at() + step;
    if (next >= 1 && next <= this.shown().length) go({ edit: next });
  },

  at() {
    return Math.min(Math.max(1, Number(address.edit) || 1), this.shown().length);
  },

  stepper(edits) {
    const [shown, at] = [this.shown(), this.at()];
    const names = [["", "all rules"], ...unique(edits.map((edit) => edit.rule)).map((name) => [name, name])];
    const isThere = (other) => other >= 1 && other <= shown.length;
    const step = (id, label, by) => element("button", { id, disabled: !isThere(at + by), click: () => this.go(by) }, label);
    return element("section", { "aria-labelledby": "applications" },
      element("h3", { id: "applications" }, "Applications, in order"),
      element("div", { class: "controls" },
        chooser("rule", "Rule", names, address.rule, (rule) => ({ rule: rule || null, edit: null })),
        step("previous-edit", "← Previous", -1),
        element("output", {}, `${at} of ${shown.length}`),
        step("next-edit", "Next →", 1)),
      shown.length > 0 ? this.edit(shown[at - 1]) : empty("This rule was not applied."));
  },

  edit({ rule, stage, count, before, after }) {
    const { pattern } = passes[address.pass - 1].rules.find((other) => other.name === rule) ?? {};
    // Of lines that stand opposite each other, what differs is marked.
    const differs = before.length === after.length ? before.map((line, at) => differingTokens(line, after[at])) : [];
    const where = count > 1 ? `In ${stage}, in ${counted(count, "block")} alike; {i} is the block's number.` : `In ${stage}, once.`;
    return element("article", { class: "edit" },
      element("h4", {}, rule),
      pattern && element("p", {}, code(pattern)),
      element("p", {}, where),
      element("div", { class: "sides" },
        this.side("Before", before, { state: stateBefore(address.pass), stage }, "removed", differs.map((pair) => pair[0])),
        this.side("After", after, { state: stateAfter(address.pass), stage }, "added", differs.map((pair) => pair[1]))));
  },

  side(title, lines, where, className, differs) {
    const code = lines.length > 0 ? codeBlock(lines, where, { class: className }, differs) : empty("Nothing.");
    return element("div", {}, element("h5", {}, title), code);
  },
};
