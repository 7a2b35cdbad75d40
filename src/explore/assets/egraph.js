// What `fuse` chose from: for each region of the program an e-graph, whose classes hold all equal ways to compute a value, and for
// each fused value the proof that it equals what it replaced.

const egraphView = {
  id: "egraph",
  title: "E-graphs",
  parts: ["region"],

  render() {
    if (address.pass === 0) return empty("This is the input: nothing has been chosen.");
    const { regions, proofs } = passes[address.pass - 1];
    if (regions.length === 0 && proofs.length === 0) return empty("This pass builds no e-graph. Fuse does.");
    const at = Math.min(Number(address.region) || 0, Math.max(0, regions.length - 1));
    return [regions.length > 0 && [this.regions(regions, at), this.region(regions[at])], proofs.length > 0 && this.proofs(proofs)];
  },

  /** Marks the class that the address names, and goes to its row. */
  mark() {
    document.querySelectorAll("[data-class]").forEach((one) => one.classList.toggle("current", one.dataset.class === address.class));
    document.querySelector(".row.current")?.scrollIntoView({ block: "nearest" });
  },

  regions(regions, chosen) {
    const titles = ["Region", "Stage", ...["Blocks", "Ops", "Chosen", "Greedy", "As trees", "Classes", "Terms"].map(numeric)];
    const rows = regions.map((region, at) => {
      const link = linkTo({ region: at, class: null }, { "aria-current": at === chosen && "true", id: `region-${at}` }, `Region ${at + 1}`);
      return [link, region.stage, integer(region.uses), fromTo(...region.ops.map(integer)), duration(region.ns), duration(region.greedy_ns),
        duration(region.tree_ns), integer(region.classes), integer(region.terms)];
    });
    return element("section", { "aria-labelledby": "regions" },
      element("h3", { id: "regions" }, "Regions"),
      note(
        "A region is a stretch of a block. Greedy is the cost of the terms that are cheapest if nothing is shared; as trees, each of ",
        "these pays for all that it reads. The chosen terms are the cheapest that were found, with what is shared paid for once."),
      table(titles, rows, { class: "wide" }));
  },

  region({ stage, rounds, saturated, eclasses }) {
    const end = saturated ? "until the rules found nothing new" : "until a limit was reached";
    const left = eclasses.filter((one) => one.terms.some((term) => term.chosen));
    return element("section", { "aria-labelledby": "classes" },
      element("h3", { id: "classes" }, "Classes"),
      note(
        `Rewritten in ${counted(rounds, "round")}, ${end}. The drawing has the chosen terms; the list has all terms of classes in `,
        "which there was a choice, the chosen one first."),
      left.length > 0 && this.chosen(left.slice(0, MOST_NODES)),
      element("ul", { class: "classes" }, eclasses.map((one) => this.row(one, { state: stateBefore(address.pass), stage, region: true }))));
  },

  chosen(classes) {
    const names = ({ id, value }) => (value ? [`#${id}`, `%${value}`] : [`#${id}`]);
    const ids = new Map(classes.flatMap((one) => names(one).map((name) => [name, String(one.id)])));
    const term = (one) => one.terms.find(({ chosen }) => chosen);
    const nodes = classes.map((one) => ({
      id: String(one.id), label: one.value ? `#${one.id} %${one.value}` : `#${one.id}`, detail: term(one).text,
      title: `#${one.id} : ${one.type}\n${term(one).text}\n${duration(term(one).ns)}`, changes: { class: one.id },
      fill: "var(--paper)", data: { "data-class": one.id },
    }));
    const edges = classes.flatMap((one) => {
      const operands = tokens(term(one).text).filter((token) => ids.has(token.text));
      return unique(operands.map((token) => ids.get(token.text))).map((from) => ({ from, to: String(one.id) }));
    });
    return drawing("The chosen terms of this region", nodes, edges);
  },

  row({ id, value, type, terms }, where) {
    const sorted = terms.toSorted((a, b) => Boolean(b.chosen) - Boolean(a.chosen) || a.ns - b.ns);
    const item = ({ text, ns, chosen }) => element("li", { class: chosen && "chosen" },
      code(codeOf(text, where)), " ", small(`${duration(ns)}${chosen ? ", chosen" : ""}`));
    return element("li", { class: "row", "data-class": id },
      code(`#${id}`),
      code(value ? codeOf(`%${value}`, where) : ""),
      code(codeOf(type, where)),
      element("ul", { class: "terms" }, sorted.map(item)));
  },

  proofs(proofs) {
    const state = stateAfter(address.pass);
    const before = { state: stateBefore(address.pass) };
    const step = (term, why) => element("li", {}, code(codeOf(term, before)), " ", small(why));
    const one = ({ value, before: start, steps }) =>
      foldedAway([code(codeOf(`%${value}`, { state })), ` in ${counted(steps.length, "step")}`],
        element("ol", { class: "proof" }, step(start, "as it was"), steps.map(([rule, term]) => step(term, `by ${rule}`))));
    return element("section", { "aria-labelledby": "proofs" },
      element("h3", { id: "proofs" }, "Proofs"),
      note("Each fused value equals what it replaced by these steps, in which only rules were used."),
      proofs.map(one));
  },
};

/** A class in a term as a link to its row. */
const classLink = (text, className) => linkTo({ class: text.slice(1) }, { class: className, tabindex: -1 }, text);
