// The passes in order, with what each did to the program, and the details of the one that is shown.

function renderTimeline() {
  const most = Math.max(1, ...states.map((state) => state.ns ?? 0));
  const items = [timelineInput(most), ...passes.map((pass, at) => timelinePass(pass, at + 1, most))];
  byId("timeline").replaceChildren(element("ol", {}, items.map((item) => element("li", {}, item))));
}

function timelineItem(pass, title, ns, most, ...lines) {
  const bar = element("span", { class: "bar" });
  bar.style.setProperty("--share", (ns ?? 0) / most);
  const isIdle = pass > 0 && !changesProgram(pass);
  return linkTo(() => toPass(pass), { class: isIdle ? "pass idle" : "pass", "data-pass": pass, id: `pass-${pass}` },
    element("span", { class: "title" }, pass > 0 && element("span", { class: "ordinal" }, `${pass}`), element("bdi", {}, title)),
    lines, known(ns) && bar);
}

function timelineInput(most) {
  return timelineItem(0, "input", states[0].ns, most, effect(states[0], states[0]));
}

function timelinePass(pass, number, most) {
  const [before, after] = [states[pass.before], states[pass.after]];
  const fired = pass.rules.filter((rule) => rule.hits > 0).length;
  return timelineItem(number, pass.pass, after.ns, most,
    changesProgram(number) ? effect(before, after) : element("span", { class: "effect" }, "changed nothing"),
    element("span", { class: "how" },
      dot(pass.exactness), `${pass.exactness} · took ${seconds(pass.seconds)}`,
      fired > 0 && ` · ${counted(fired, "rule")} fired`,
      pass.warnings.length > 0 && ` · ${counted(pass.warnings.length, "warning")}`));
}

/** Ops, time and weights of one state and another. */
function effect(from, to) {
  const texts = [
    `${fromTo(integer(from.ops), integer(to.ops))} ops`,
    known(to.ns) && fromTo(duration(from.ns), duration(to.ns)),
    fromTo(sizeOf(from.weight_bytes), sizeOf(to.weight_bytes)),
  ];
  return element("span", { class: "effect" }, texts.filter(Boolean).map((text) => element("span", {}, text)));
}

/** Marks the pass that is shown. */
function markPass() {
  const timeline = byId("timeline");
  for (const link of timeline.querySelectorAll("a")) {
    if (Number(link.dataset.pass) === address.pass) link.setAttribute("aria-current", "step");
    else link.removeAttribute("aria-current");
  }
  // The list alone scrolls, not the page, and only if it must.
  const shown = byId(`pass-${address.pass}`);
  const [inner, outer] = [shown.getBoundingClientRect(), timeline.getBoundingClientRect()];
  const isSeen = inner.top >= outer.top && inner.bottom <= Math.min(outer.bottom, innerHeight);
  if (!isSeen) timeline.scrollTop += inner.top - outer.top - timeline.clientHeight / 3;
}

/** What came of one state until another, in words. */
function gains(from, to) {
  return [
    `${fromTo(integer(from.ops), integer(to.ops))} ops`,
    known(to.ns) && `${fromTo(duration(from.ns), duration(to.ns))} for a picture, estimated${data.machine ? ` for ${data.machine}` : ""}`,
    `${fromTo(sizeOf(from.weight_bytes), sizeOf(to.weight_bytes))} of weights`,
  ].filter(Boolean).join("; ");
}

/** What is above each view: the pass in sentences, what it noted and what it warns of. */
function passHeading() {
  if (address.pass === 0) return [element("h2", {}, "The input"), note(`Before any pass: ${gains(states[0], states[0])}.`)];
  const { pass, exactness, before, after, notes, warnings, rules } = passes[address.pass - 1];
  const applied = sum(rules.map((rule) => rule.hits));
  const what = before === after ? "This pass changed nothing." : `${gains(states[before], states[after])}.`;
  const list = (className, texts) => plainList(texts.map((text) => element("bdi", {}, text)), className);
  return [
    element("h2", {}, element("bdi", {}, pass)),
    note(
      dot(exactness), `${exactness}: ${EXACTNESS[exactness]}. ${what}`,
      applied > 0 && ` Rules fired ${counted(applied, "time")}.`),
    warnings.length > 0 && list("warnings", warnings),
    notes.length > 0 && foldedAway(counted(notes.length, "note"), list("notes", notes)),
  ];
}

function renderHeadline() {
  const measured = data.measured ? ` Times of values are also measured, on ${data.measured.device}.` : "";
  byId("headline").textContent = `What ${counted(passes.length, "pass")} made of it: ${gains(states[0], states.at(-1))}.${measured}`;
}
