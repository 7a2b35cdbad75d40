// The values around one, as a graph: those near it, those of its block, or those of its stage.

/** More nodes than these are neither laid out in time nor looked at. */
const MOST_NODES = 60;
const SHADES = 5;

const SCOPES = [["near", "two steps around it"], ["block", "its block"], ["stage", "its stage"]];

/** What colours can show: of each value a number, or the name of a kind. */
const COLORINGS = {
  time: { label: "estimated time", number: (value) => value.ns, words: duration },
  bytes: { label: "bytes moved", number: (value) => value.bytes, words: sizeOf },
  exactness: { label: "exactness", kind: (value) => value.exactness },
  dtype: { label: "type", kind: (value) => value.dtype },
};

const graphView = {
  id: "graph",
  title: "Graph",
  parts: ["value", "stage", "at", "scope", "color"],

  render() {
    const state = stateAfter(address.pass);
    const { values } = states[state];
    if (values.length === 0) return empty("This program has no values.");
    const selected = selectedValue();
    const center = selected?.state === state ? selected.index : this.slowest(values);
    const scope = address.scope ?? "near";
    const inScope = this.members(state, center, scope);
    const shown = this.nearest(values, center, inScope, scope === "near" ? 2 : Infinity);
    const color = Object.hasOwn(COLORINGS, address.color) ? address.color : "time";
    const coloring = COLORINGS[color];
    const paint = painter(coloring, shown.map((index) => values[index]));
    return [
      element("div", { class: "controls" },
        chooser("scope", "Values", SCOPES, scope, (scope) => ({ scope })),
        chooser("color", "Colours", Object.entries(COLORINGS).map(([key, { label }]) => [key, label]), color, (color) => ({ color })),
        paint.legend()),
      note(this.words(state, center, selected, shown, inScope)),
      this.draw(state, center, shown, coloring, paint),
    ];
  },

  slowest(values) {
    return values.reduce((best, value, index) => ((value.ns ?? 0) > (values[best].ns ?? 0) ? index : best), 0);
  },

  /** The values in scope: those of the lines that the same block or stage is around. */
  members(state, center, scope) {
    const { lines, values } = states[state];
    const inStage = [...values.keys()].filter((index) => values[index].stage === values[center].stage);
    const line = lineOfValue(state)[center];
    if (scope === "near" || !known(line)) return new Set([...values.keys()]);
    const around = openings(state)[line];
    if (scope === "stage" || around < 0) return new Set(inStage);
    return new Set(inStage.filter((index) => openings(state)[lineOfValue(state)[index]] === around));
  },

  /** Values by their distance from the center, of which there may be `steps`. What hangs together with it in no way comes last. */
  nearest(values, center, inScope, steps) {
    const distance = new Map([[center, 0]]);
    for (const index of distance.keys()) {
      if (distance.get(index) >= steps || distance.size >= MOST_NODES) continue;
      for (const next of [...values[index].operands, ...values[index].users]) {
        if (inScope.has(next) && !distance.has(next) && distance.size < MOST_NODES) distance.set(next, distance.get(index) + 1);
      }
    }
    const others = steps === Infinity ? [...inScope].filter((index) => !distance.has(index)) : [];
    return [...distance.keys(), ...others.slice(0, MOST_NODES - distance.size)];
  },

  words(state, center, selected, shown, inScope) {
    const name = `%${valueAt(state, center).name}`;
    const isCenter = selected?.state === state;
    const missing = selected ? "The selected value is not in this program" : "No value is selected";
    const why = isCenter ? "" : `${missing}; this is around the one that takes the most time, ${name}. `;
    const isWide = address.scope && address.scope !== "near";
    const of = isWide && shown.length < inScope.size ? `, the nearest to ${name} of ${integer(inScope.size)}` : "";
    return `${why}${counted(shown.length, "value")}${of}. Dashed edges come from the round before. Click a value to go to it.`;
  },

  draw(state, center, shown, coloring, paint) {
    const { values } = states[state];
    const isShown = new Set(shown);
    const nodes = shown.map((index) => {
      const value = values[index];
      const says = coloring.number ? coloring.words(coloring.number(value)) : coloring.kind(value);
      return {
        id: String(index), label: `%${value.name}`, detail: `${value.op}  ${says}`, fill: paint.color(value), isCenter: index === center,
        changes: toValue(state, index), title: `${value.text.trim()}\n${value.module}\n${duration(value.ns)}`,
        data: { "data-state": state, "data-value": index },
      };
    });
    const edges = shown.flatMap((to) => values[to].operands.filter((from) => isShown.has(from))
      .map((from) => ({ from, to, isDashed: values[to].carried?.includes(from) ?? false })));
    return drawing(`Values around %${values[center].name}`, nodes, edges);
  },
};

/** Colours for values, and the legend that says what they mean. */
function painter({ label, number, kind, words }, values) {
  const swatch = (color, text) => {
    const box = element("span", { class: "swatch" });
    box.style.background = color;
    return element("span", { class: "key" }, box, text);
  };
  const legend = (keys) => element("div", { class: "legend", role: "group", "aria-label": `Colours: ${label}` }, keys);
  if (kind) {
    const kinds = unique(values.map(kind)).sort();
    const color = (name) => `color-mix(in srgb, var(--part-${kinds.indexOf(name) % 6}) 40%, var(--paper))`;
    return { color: (value) => color(kind(value)), legend: () => legend(kinds.map((name) => swatch(color(name), name))) };
  }
  const most = Math.max(1, ...values.map((value) => number(value) ?? 0));
  // The square root keeps small values apart, which are most of them.
  const shade = (part) => `color-mix(in srgb, var(--accent) ${Math.round(60 * Math.sqrt(part))}%, var(--paper))`;
  const steps = Array.from({ length: SHADES }, (_, at) => (at / (SHADES - 1)) ** 2);
  return {
    color: (value) => shade((number(value) ?? 0) / most),
    legend: () => legend(steps.map((part) => swatch(shade(part), words(part * most)))),
  };
}
