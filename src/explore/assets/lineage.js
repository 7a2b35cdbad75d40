// The history of a value: what of the input it was made of, by which passes and rules, and what became of it.

/** How many values and modules are named before the rest is counted. */
const MOST_NAMED = 10;

/** From the input through this state to what became of the value, where something happened to it. */
function lineage(state, index) {
  const versions = [];
  versions[state] = [index];
  for (let at = state - 1; at >= 0; at--) versions[at] = backwards(at, versions[at + 1]);
  for (let at = state + 1; at < states.length && versions[at - 1].length > 0; at++) versions[at] = forwards(at, versions[at - 1]);
  const last = versions.length - 1;
  const isEnd = (at) => at === 0 || at === state || (at === last && versions[at].length === 0);
  const isTold = (at) => isEnd(at) || versions[at].some((one) => hasChanged(at, one));
  const steps = [...versions.keys()].filter(isTold).map((at) => lineageStep(at, versions[at], state));
  const isLast = last === states.length - 1 && versions[last].length > 0;
  return [
    element("ol", { class: "lineage" }, steps),
    note(isLast && "It is in the last program. ", origin(versions[0])),
  ];
}

/** Whether a value of this state is not simply the one of the state before. */
function hasChanged(state, index) {
  const value = valueAt(state, index);
  return known(value.change) && value.change !== "same";
}

function lineageStep(at, indices, shown) {
  const pass = passOf(at);
  const title = pass === 0 ? "The input" : `${pass}. ${passName(pass)}`;
  if (indices.length === 0) return element("li", {}, title, at < shown ? ": it was not there yet." : ": nothing is made of it any more.");
  const happened = unique(indices.filter((one) => hasChanged(at, one)).map((one) => {
    const { change, rule } = valueAt(at, one);
    return rule ? `${change} by ${rule}` : change;
  }));
  return element("li", { class: at === shown && "shown" },
    linkTo({ pass, ...addressName(at, indices[0]), at: null }, {}, title), happened.length > 0 && ` ${happened.join(", ")}`,
    element("div", {}, valueLinks(at, indices, () => null, MOST_NAMED)));
}

/** The modules of the checkpoint that values of the input belong to. */
function origin(indices) {
  const modules = unique(indices.map((index) => valueAt(0, index).module).filter(Boolean));
  const more = modules.length - MOST_NAMED;
  const others = more > 0 ? ` and ${counted(more, "more module")}` : "";
  return modules.length > 0 && `It comes from ${modules.slice(0, MOST_NAMED).join(", ")}${others} of the checkpoint.`;
}
