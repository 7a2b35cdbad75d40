// The data of the page, and how its parts are found: states by passes, values by names, what became of a value.
//
// Passes are counted from one: 0 stands for the input, which no pass has made.

const data = JSON.parse(byId("data").textContent);
const { states, passes } = data;

const stateAfter = (pass) => (pass === 0 ? 0 : passes[pass - 1].after);
const stateBefore = (pass) => (pass === 0 ? 0 : passes[pass - 1].before);
const changesProgram = (pass) => pass > 0 && stateAfter(pass) !== stateBefore(pass);

/** The pass that made this state; 0 if it is the input. */
const passOf = (state) => passes.findIndex((pass) => pass.after === state && pass.before !== state) + 1;
const passName = (pass) => (pass === 0 ? "the input" : passes[pass - 1].name);
const programAfter = (pass) => (pass === 0 ? "the input" : `the program after ${passName(pass)}`);
const valueAt = (state, index) => states[state].values[index];
const stageOf = (state, index) => states[state].stages[valueAt(state, index).stage];

/** What is computed once for each state that is looked at. */
const once = (compute) => {
  const computed = [];
  return (state) => (computed[state] ??= compute(states[state], state));
};

/** The name that all rounds of a value share: `h` of `h.{0..19}`. */
const stemOf = (value) => (value.rounds ? value.name.replace(/\.\{[^}]*\}$/, "") : value.name);

const stems = once(({ values }) => {
  const found = new Map();
  values.forEach((value, index) => {
    const stem = stemOf(value);
    if (!found.has(stem)) found.set(stem, []);
    found.get(stem).push(index);
  });
  return found;
});

/** The line that defines each value. */
const lineOfValue = once(({ lines, values }) => {
  const found = new Array(values.length);
  lines.forEach(([, value], line) => {
    if (known(value)) found[value] = line;
  });
  return found;
});

/** For each line the line that opens the stage or block around it, or -1. */
const openings = once(({ lines }) => {
  const open = [];
  return lines.map(([text], line) => {
    if (text.trim() === "}") open.pop();
    const around = open.at(-1) ?? -1;
    if (text.endsWith("{")) open.push(line);
    return around;
  });
});

/** For each value those of the next state that are made of it. */
const successors = once(({ values }, state) => {
  const found = values.map(() => []);
  states[state + 1]?.values.forEach((value, index) => value.from?.forEach((source) => found[source].push(index)));
  return found;
});

/** Whether a text writes this value as `name`: alone, inside of its block, from outside, or as a range. */
function isNamed(value, name) {
  if (value.name === name) return true;
  if (!value.rounds || !name.startsWith(stemOf(value))) return false;
  const rest = name.slice(stemOf(value).length);
  const round = rest.match(/^\.(\d+)$/)?.[1];
  if (round) return value.rounds[0] <= round && round < value.rounds[1];
  return rest === "" || rest === ".prev" || rest.startsWith(".{");
}

/**
 * The value that is written as `name`: one of `preferred` if it can be, else the last one before `before` in the stage, else the
 * first one anywhere. A text repeats names in stages, and a block may reuse a stem of the block before.
 */
function findValue(state, name, { preferred = [], stage, before = Infinity } = {}) {
  const { values, stages } = states[state];
  const candidates = new Set([name, name.replace(/\.(?:\w+|\{[^}]*\})$/, "")].flatMap((stem) => stems(state).get(stem) ?? []));
  const named = [...candidates].filter((index) => isNamed(values[index], name));
  const inStage = named.filter((index) => stages[values[index].stage] === stage);
  return named.find((index) => preferred.includes(index)) ?? inStage.findLast((index) => index < before) ?? inStage[0] ?? named[0];
}

/** What an address calls a value: by default the name of its first round, and the stage if another one has a value of that name. */
function addressName(state, index, as) {
  const value = valueAt(state, index);
  const name = as ?? (value.rounds ? `${stemOf(value)}.${value.rounds[0]}` : value.name);
  return { value: name, stage: findValue(state, name) === index ? null : stageOf(state, index) };
}

/** The values that a stage's input is in the stages before it or in earlier steps, or that inputs of other stages are of a result. */
function acrossStages(state, index) {
  const { values } = states[state];
  const value = values[index];
  const isResult = (result, input) => result.outputs?.some((label) => label === input.name || label === stemOf(input));
  const isOther = (other) => (value.op === "input" ? isResult(other, value) : other.op === "input" && isResult(value, other));
  return [...values.keys()].filter((other) => other !== index && isOther(values[other]));
}

/** The values of `state` that the values `indices` of the state before became, or those of the state after were made of. */
const forwards = (state, indices) => unique(indices.flatMap((index) => successors(state - 1)[index]));
const backwards = (state, indices) => unique(indices.flatMap((index) => valueAt(state + 1, index).from ?? []));
const unique = (list) => [...new Set(list)];

/** The value in state `to` that a reader of value `index` in state `from` would look for, if there still is or already was one. */
function follow(from, index, to) {
  let at = index;
  for (let state = from; state !== to && known(at); ) {
    const next = state < to ? state + 1 : state - 1;
    const found = state < to ? forwards(next, [at]) : backwards(next, [at]);
    const { name } = valueAt(state, at);
    at = found.find((other) => valueAt(next, other).name === name) ?? found[0];
    state = next;
  }
  return at;
}
