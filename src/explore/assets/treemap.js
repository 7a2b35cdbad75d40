// Where the time of a stage goes, by module: a treemap that is clicked into, and the same as a table.

const TITLE_HEIGHT = 20;

const timeView = {
  id: "time",
  title: "Time",
  parts: ["variant", "within"],

  render() {
    const state = stateAfter(address.pass);
    const { values, stages, schedule } = states[state];
    const total = (stage) => sum(values.filter((value) => stages[value.stage] === stage).map((value) => value.ns));
    const slowest = stages.toSorted((a, b) => total(b) - total(a))[0];
    const stage = stages.includes(address.variant) ? address.variant : slowest;
    const root = this.tree(state, stage);
    if (!(root.ns > 0)) return empty("No times are estimated for this program.");
    const path = pathOf(address.within ?? "");
    const trail = path.reduce((nodes, part) => [...nodes, nodes.at(-1)?.parts.get(part)], [root]);
    const node = trail.findLast(Boolean);
    const steps = new Map(schedule.map(([variant, count]) => [`variant ${variant}`, count]));
    const ran = (name) => (steps.has(name) ? `, in ${counted(steps.get(name), "step")}` : "");
    const options = stages.map((name) => [name, `${name}, ${duration(total(name))}${ran(name)}`]);
    return [
      element("div", { class: "controls" }, chooser("variant", "Stage", options, stage, (variant) => ({ variant, within: null }))),
      this.trail(trail.filter(Boolean), stage),
      this.map(state, node),
      this.table(state, node),
    ];
  },

  /** The values of a stage in a tree of modules; a value is a leaf of the module that it belongs to. */
  tree(state, stage) {
    const make = (name, path) => ({ name, path, parts: new Map(), ns: 0, measured: null });
    const root = make(stage, "");
    const { values, stages } = states[state];
    values.forEach((value, index) => {
      if (stages[value.stage] !== stage) return;
      let node = root;
      const visited = [root];
      for (const part of pathOf(value.module)) {
        if (!node.parts.has(part)) node.parts.set(part, make(part, node.path ? `${node.path}.${part}` : part));
        visited.push((node = node.parts.get(part)));
      }
      const leaf = { ...make(`%${value.name}`, node.path), value: index };
      node.parts.set(leaf.name, leaf);
      for (const each of [...visited, leaf]) {
        each.ns += value.ns ?? 0;
        if (known(value.measured_ms)) each.measured = (each.measured ?? 0) + value.measured_ms;
      }
    });
    return root;
  },

  trail(nodes, stage) {
    const link = (node, at) => (at === nodes.length - 1
      ? element("span", { "aria-current": "true" }, node.name)
      : linkTo({ within: node.path || null, variant: stage }, {}, node.name));
    const [first, last] = [nodes[0], nodes.at(-1)];
    return element("p", { class: "trail" },
      nodes.map((node, at) => [at > 0 && " › ", link(node, at)]),
      ` ${duration(last.ns)}, ${percent(last.ns, first.ns)} of the stage`);
  },

  /** Where a part leads: into a module, or to a value. */
  target(state, node) {
    return known(node.value) ? toValue(state, node.value) : { within: node.path };
  },

  map(state, node) {
    const [width, height] = [room(), Math.max(360, Math.round(room() / 2))];
    const label = `Time of ${node.name} by module; the table has the same`;
    const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, class: "treemap", role: "group", "aria-label": label });
    const draw = (parent, area, depth, color) => {
      const parts = [...parent.parts.values()].filter((part) => part.ns > 0).sort((a, b) => b.ns - a.ns);
      squarified(parts, area).forEach(({ part, x, y, width, height }, at) => {
        const own = color ?? at % 6;
        svg.append(this.tile(state, node, part, { x, y, width, height }, own, depth));
        const inner = { x: x + 3, y: y + TITLE_HEIGHT, width: width - 6, height: height - TITLE_HEIGHT - 3 };
        if (depth < 2 && part.parts.size > 0 && inner.width > 30 && inner.height > 20) draw(part, inner, depth + 1, own);
      });
    };
    draw(node, { x: 0, y: 0, width, height }, 0);
    return svg;
  },

  tile(state, around, part, { x, y, width, height }, color, depth) {
    const text = `${part.name}  ${percent(part.ns, around.ns)}`;
    const characters = Math.floor((width - 8) / 6.2);
    const label = characters >= text.length ? text : characters >= 4 ? `${part.name.slice(0, characters - 1)}…` : "";
    const data = known(part.value) ? { "data-state": state, "data-value": part.value } : {};
    const fill = `color-mix(in srgb, var(--part-${color}) ${20 + 14 * depth}%, var(--paper))`;
    const time = `${duration(part.ns)} estimated, ${percent(part.ns, around.ns)}`;
    const measured = known(part.measured) && `${milliseconds(part.measured)} measured`;
    const tile = svgElement("a", { class: "tile", tabindex: depth === 0 ? null : -1, ...data },
      svgElement("title", {}, [part.path, part.name, time, measured].filter(Boolean).join("\n")),
      svgElement("rect", { x, y, width, height, fill }),
      height > 14 && svgElement("text", { x: x + 4, y: y + 14 }, label));
    return aimed(tile, this.target(state, part));
  },

  table(state, node) {
    const parts = [...node.parts.values()].sort((a, b) => b.ns - a.ns);
    const isMeasured = parts.some((part) => known(part.measured));
    const titles = ["Part", ...["Estimated", "Share", ...(isMeasured ? ["Measured", "Measured / estimated"] : [])].map(numeric)];
    return table(titles, parts.map((part) => {
      const link = known(part.value) ? valueLink(part.name, state, part.value) : linkTo(this.target(state, part), {}, part.name);
      const measured = known(part.measured) && part.ns > 0 ? `${((part.measured * 1e6) / part.ns).toFixed(2)}×` : UNKNOWN;
      return [link, duration(part.ns), percent(part.ns, node.ns), ...(isMeasured ? [milliseconds(part.measured), measured] : [])];
    }));
  },
};

const sum = (numbers) => numbers.reduce((total, number) => total + (number ?? 0), 0);

/** A module path cut at its dots, though neither in nor before a block's number: `transformer_blocks.{0..19}`, `attn`, `to_out.0`. */
const pathOf = (module) => module.split(/\.(?![^{]*\}|[{\d*])/).filter(Boolean);

/**
 * Parts as rectangles that fill `area` and are as square as can be (Bruls, Huizing and van Wijk, 2000): a row along the shorter side
 * takes parts, the largest first, for as long as that makes its worst rectangle no longer.
 */
function squarified(parts, { x, y, width, height }) {
  const placed = [];
  let left = sum(parts.map((part) => part.ns));
  for (let at = 0; at < parts.length; ) {
    const side = Math.min(width, height);
    const scale = (width * height) / left;
    const worst = (row, total) => {
      const thickness = (total * scale) / side;
      return Math.max(...row.map(({ ns }) => Math.max((thickness * thickness) / (ns * scale), (ns * scale) / (thickness * thickness))));
    };
    const row = [parts[at++]];
    let total = row[0].ns;
    while (at < parts.length && worst([...row, parts[at]], total + parts[at].ns) <= worst(row, total)) {
      total += parts[at].ns;
      row.push(parts[at++]);
    }
    const thickness = (total * scale) / side;
    let along = 0;
    for (const part of row) {
      const length = (part.ns * scale) / thickness;
      if (width >= height) placed.push({ part, x, y: y + along, width: thickness, height: length });
      else placed.push({ part, x: x + along, y, width: length, height: thickness });
      along += length;
    }
    if (width >= height) [x, width] = [x + thickness, width - thickness];
    else [y, height] = [y + thickness, height - thickness];
    left -= total;
  }
  return placed;
}
