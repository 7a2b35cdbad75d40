// The panel beside the program: all that is known of the selected value.

function renderPanel() {
  const panel = byId("panel");
  const selected = selectedValue();
  panel.hidden = !known(address.value);
  document.body.classList.toggle("beside", !panel.hidden);
  if (panel.hidden) return;
  panel.replaceChildren(...(selected ? valuePanel(selected) : missingPanel()));
  panel.scrollTop = 0;
}

function closeButton() {
  const says = { "aria-label": "Close the value", title: "Close (Esc)" };
  return element("button", { id: "close", class: "close", ...says, click: closeValue }, "✕");
}

function missingPanel() {
  const state = states.findLastIndex((_, at) => known(findValue(at, address.value)));
  const where = `There is no value of this name in ${programAfter(address.at ?? address.pass)}.`;
  const link = () => linkTo({ at: passOf(state), stage: null }, {}, programAfter(passOf(state)));
  const elsewhere = state >= 0 && element("p", {}, "There is one in ", link(), ".");
  return [closeButton(), element("h2", {}, `%${address.value}`), empty(where), elsewhere].filter(Boolean);
}

function valuePanel({ state, index }) {
  const value = valueAt(state, index);
  const section = (title, ...content) => content.some(Boolean) && element("section", {}, element("h3", {}, title), content);
  const isInput = value.op === "input";
  const others = acrossStages(state, index);
  const inStage = (other) => small(` in ${stageOf(state, other)}`);
  const carried = (other) => value.carried?.includes(other) && small(" of the round before");
  return [
    closeButton(),
    element("h2", {}, element("bdi", {}, `%${value.name}`)),
    note(ofState(state, value)),
    ways(state, index),
    codeBlock([value.text.trim()], { state, defines: index }),
    facts([
      ["Type", code(codeOf(value.type, { state }))],
      ["Op", value.op],
      ["Module", value.module && breakable(value.module)],
      ["Stage", stageOf(state, index)],
      ["Rounds", value.rounds && `${value.rounds[1] - value.rounds[0]}`],
      ["Result", value.outputs?.join(", ")],
      ["Exactness", value.exactness && [dot(value.exactness), `${value.exactness}: ${EXACTNESS[value.exactness]}`]],
    ]),
    section("Operands",
      value.operands.length > 0 && element("p", {}, valueLinks(state, value.operands, carried)),
      weightsOf(value),
      isInput && others.length > 0 && element("p", {}, "It is what another stage gives: ", valueLinks(state, others, inStage), "."),
      isInput && others.length === 0 && element("p", {}, "It is an input of the program.")),
    section("Users",
      element("p", {}, value.users.length > 0 ? valueLinks(state, value.users) : "Nothing in its stage reads it."),
      !isInput && others.length > 0 && element("p", {}, "As a result it is read as ", valueLinks(state, others, inStage), ".")),
    section("Cost", costOf(value)),
    section("History", lineage(state, index)),
    section("What rules say of it", verdicts(state, index)),
    section("Kernel", known(value.kernel) && kernelText(data.kernels[value.kernel].trim())),
  ].filter(Boolean);
}

const dot = (exactness) => element("span", { class: `dot ${exactness}` });

/** Links to where else the value is. */
function ways(state, index) {
  const pass = stateAfter(address.pass) === state ? address.pass : passOf(state);
  const to = (view) => ({ pass, ...addressName(state, index), at: null, view });
  return note("Show it ", linkTo(to("program"), {}, "in the program"), " or ", linkTo(to("graph"), {}, "in the graph"), ".");
}

/** What the pass before did to a value. */
function ofState(state, value) {
  const pass = passOf(state);
  if (pass === 0) return "In the input.";
  const done = { made: "Made by", changed: "Changed by", moved: "Moved by" }[value.change] ?? "As it is after";
  return `${done} ${passName(pass)}, pass ${pass}${value.rule ? `, by ${value.rule}` : ""}.`;
}

function weightsOf(value) {
  if (!(value.weights?.length > 0)) return null;
  const weight = (text) => code(codeOf(`@${text.replace(/^@/, "")}`, { state: 0 }));
  return [value.rounds && note("Weights of the first round:"), plainList(value.weights.map(weight))];
}

function kernelText(text) {
  return foldedAway(counted(text.split("\n").length, "line"), element("pre", { tabindex: 0 }, text));
}

/** Time, and which side of the roofline it is: what computing takes against what moving takes. */
function costOf(value) {
  if (!known(value.ns)) return empty("No time is estimated.");
  const most = Math.max(value.compute_ns ?? 0, value.memory_ns ?? 0, 1);
  const bar = (label, ns) => {
    const fill = element("span", { class: "bar" });
    fill.style.setProperty("--share", (ns ?? 0) / most);
    return element("div", { class: "roofline" }, element("span", {}, label), fill, element("span", { class: "number" }, duration(ns)));
  };
  const side = value.compute_ns > value.memory_ns ? "Arithmetic bounds it." : value.memory_ns > 0 ? "Memory bounds it." : null;
  const ratio = known(value.measured_ms) && value.ns > 0 ? ` (${((value.measured_ms * 1e6) / value.ns).toFixed(2)} of the estimate)` : "";
  return [
    facts([
      ["Estimated", duration(value.ns)],
      ["Measured", known(value.measured_ms) ? `${milliseconds(value.measured_ms)}${ratio}` : null],
      ["Arithmetic", operations(value.flops)],
      ["Moved", sizeOf(value.bytes)],
    ]),
    known(value.compute_ns) && [bar("computing", value.compute_ns), bar("moving", value.memory_ns)],
    side && note(side, value.rounds && " All rounds are counted."),
  ];
}

/** What rules that run next say of the value: why they apply to it, or what is in the way. */
function verdicts(state, index) {
  const { why } = valueAt(state, index);
  if (!(why?.length > 0)) return empty("No rule looks at it next.");
  const where = { state, stage: stageOf(state, index) };
  const verdict = ([, rule, applies, reason, line]) => element("div", { class: applies ? "applies" : "fails" },
    element("strong", {}, rule), applies ? " applies: " : " does not apply: ", proseOf(reason, where),
    line && codeBlock([line.trim()], where));
  return [...Map.groupBy(why, ([pass]) => pass)].map(([pass, list]) => [
    element("h4", {}, linkTo(() => toPass(pass + 1), {}, `${pass + 1}. ${passName(pass + 1)}`)),
    plainList(list.map(verdict)),
  ]);
}
