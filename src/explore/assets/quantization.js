// Modules whose weights a pass could quantize, as a tree: with what scheme, in how many bytes, and why some stay as they are.

const quantizationView = {
  id: "quantization",
  title: "Quantization",
  parts: [],

  render() {
    const modules = data.quantized ?? [];
    if (modules.length === 0) return empty("No pass quantizes weights.");
    const quantized = modules.filter((module) => module.scheme);
    const [before, after] = [bytesOf(modules, "bytes_before"), bytesOf(modules, "bytes_after")];
    const count = (list) => sum(list.map((module) => module.count));
    const titles = ["Module", "Scheme", "Weights", numeric("Before"), numeric("After"), "Why it stays"];
    return [
      element("p", {},
        `${integer(count(quantized))} of ${counted(count(modules), "module")} are quantized. `,
        `The weights of all of them take ${sizeOf(after)} instead of ${sizeOf(before)}, ${percent(after, before)}.`),
      table(titles, [...this.rows(modules), this.total("All of them", 0, modules)], { class: "wide tree" }),
    ];
  },

  /** Modules in order, with a row of totals before those that are below one path. */
  rows(modules, depth = 0) {
    const groups = Map.groupBy(modules, (module) => pathOf(module.module)[depth]);
    return [...groups].flatMap(([part, inside]) => {
      // A module that others are below has a row of its own among them.
      const isGroup = inside.length > 1 && part !== undefined;
      return isGroup ? [this.total(part, depth, inside), ...this.rows(inside, depth + 1)] : inside.map((one) => this.module(one, depth));
    });
  },

  total(name, depth, modules) {
    return element("tr", { class: "total" }, this.name(name, depth),
      element("td", {}, unique(modules.map((module) => module.scheme ?? "stays")).join(", ")),
      element("td", {}, counted(sum(modules.map((module) => module.count)), "module")),
      this.bytes(bytesOf(modules, "bytes_before")), this.bytes(bytesOf(modules, "bytes_after")), element("td"));
  },

  module({ module, count, scheme, before, after, bytes_before, bytes_after, why }, depth) {
    const rest = pathOf(module).slice(depth).join(".") || "itself";
    return element("tr", { class: scheme ? null : "stays" }, this.name(rest, depth, count),
      element("td", {}, scheme ?? "stays"), element("td", {}, code(fromTo(before, after))),
      this.bytes(bytes_before), this.bytes(bytes_after), element("td", {}, why));
  },

  name(name, depth, count) {
    const cell = element("th", { scope: "row" }, code(name), count > 1 && small(` × ${count}`));
    cell.style.setProperty("--depth", depth);
    return cell;
  },

  bytes: (bytes) => element("td", { class: "number" }, sizeOf(bytes)),
};

const bytesOf = (modules, part) => sum(modules.map((module) => module[part]));
