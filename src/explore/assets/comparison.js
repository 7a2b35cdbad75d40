// A comparison with another program, module by module: the time of each, and how far its results are off.

const comparisonView = {
  id: "comparison",
  title: "Comparison",
  parts: [],

  render() {
    const { a, b, kinds, why_not_made, reuses } = data.compared;
    const titles = ["Module", "Time in A", "Time in B", "Error it makes", "Error", "Cosine", "Greatest"];
    const worst = Math.max(...kinds.map((kind) => kind.error_made?.relative_l2 ?? 0));
    return [
      element("p", {}, "A is ", code(a), ". B is ", code(b), "."),
      element("p", {}, "Times are of all steps of a picture, errors relative L2 distances from A, over all steps. ",
        why_not_made
          ? `What each module makes by itself is not known: ${why_not_made}.`
          : "The error that a module makes is the one that its results have where it reads what A has computed; the rest it was given.",
        reuses && !why_not_made && " That is of the steps that compute the module; what steps reuse from earlier ones shows in the error alone."),
      table([titles[0], ...titles.slice(1).map(numeric)], kinds.map((kind) => this.row(kind, worst)), { class: "wide tree" }),
    ];
  },

  row({ module, ms_a, ms_b, error, error_made }, worst) {
    const path = pathOf(module);
    const name = element("th", { scope: "row" }, path.length === 0 ? "All of it" : code(path.at(-1)));
    name.style.setProperty("--depth", Math.max(0, path.length - 1));
    if (path.length > 1) name.title = module;
    const cell = (text) => element("td", { class: "number" }, text);
    const made = cell(scientific(error_made?.relative_l2));
    if (worst > 0 && error_made) made.style.background = `color-mix(in srgb, var(--part-1) ${Math.round((60 * error_made.relative_l2) / worst)}%, transparent)`;
    return element("tr", {}, name, cell(milliseconds(ms_a)), cell(milliseconds(ms_b)), made,
      cell(scientific(error?.relative_l2)), cell(known(error?.cosine) ? error.cosine.toFixed(6) : UNKNOWN), cell(scientific(error?.max)));
  },
};

/** A number with two digits, as `1.3e-2`. */
const scientific = (number) => (known(number) ? (number === 0 ? "0" : number.toExponential(1)) : UNKNOWN);
