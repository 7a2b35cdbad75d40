// Program text: its tokens, their colours, and values in it as links.

/** In the order in which they are tried. Groups are named by what they find, which is their class too. */
const TOKENS = new RegExp(
  [
    /(?<comment>\/\/.*$)/,
    /(?<value>%(?:\w|\.(?=[\w{])|\{[^}]*\})+)/,
    /(?<weight>@(?:[\w-]|\.(?=[\w{])|\{[^}]*\})+)/,
    /(?<keyword>^\s*(?:program|input|carry|prepare|variant|probe|repeat|yield|return|schedule)\b|\b(?:in|chooses)(?= ))/,
    /(?<type>\b[a-z]\w*(?:\.\w+)*\[[\d,]*\])/,
    /(?<attribute>\b\w+(?==))/,
    /(?<module>(?<=\bin )(?!\d)(?:[\w.-]|\{[^}]*\})+)/,
    /(?<operation>(?<== )[a-z]\w*)/,
    /(?<class>#\d+)/,
    /(?<number>(?<![\w.])(?:\d+\.\.\d+|-?\d+(?:\.\d+)?(?:e-?\d+)?)\b)/,
  ]
    .map((token) => token.source)
    .join("|"),
  "g",
);

/** `text` cut into tokens with their kinds; what lies between them has none, and is cut into its marks if `isFine`. */
function tokens(text, isFine) {
  const found = [];
  let end = 0;
  const between = (rest) => (isFine ? rest.match(/\s+|\S/g) : [rest]).map((text) => ({ text }));
  for (const match of text.matchAll(TOKENS)) {
    if (match.index > end) found.push(...between(text.slice(end, match.index)));
    const [kind] = Object.entries(match.groups).find(([, group]) => group !== undefined);
    found.push({ kind, text: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push(...between(text.slice(end)));
  return found;
}

/**
 * The nodes of a line. `where` says where its names are looked for: in `state`, near the value `defines` or in `stage`.
 * `differs` has the numbers of fine tokens that another version of the line has not.
 */
function codeOf(text, where, differs) {
  const defined = known(where.defines) ? valueAt(where.state, where.defines) : null;
  return tokens(text, differs).map((token, at) => {
    // Before the name that a line defines there is only space.
    const isDefinition = defined && token.kind === "value" && at <= 1;
    const className = [token.kind, isDefinition && "definition", differs?.has(at) && "differs"].filter(Boolean).join(" ");
    if (token.kind === "value") {
      const name = token.text.slice(1);
      const index = isDefinition ? where.defines : findValue(where.state, name, {
        preferred: defined?.operands,
        stage: defined ? stageOf(where.state, where.defines) : where.stage,
        before: where.defines ?? where.before,
      });
      if (known(index)) return valueLink(token.text, where.state, index, className, isDefinition);
    }
    if (token.kind === "class" && known(where.region)) return classLink(token.text, className);
    if (!className) return token.text;
    const isPath = token.kind === "module" || token.kind === "weight";
    return element("span", { class: className }, isPath ? breakable(token.text) : token.text);
  });
}

/** A sentence with its values as links. */
function proseOf(text, where) {
  return tokens(text).map((token) => (token.kind === "value" ? codeOf(token.text, where) : token.text));
}

/** A value as a link. Of a program's text only what defines a value is reached by Tab, or there would be thousands of stops. */
function valueLink(text, state, index, className = "value", isStop = true) {
  const as = text.match(/^%(.*\.\d+)$/)?.[1];
  const marks = { class: className, "data-state": state, "data-value": index, tabindex: isStop ? null : -1 };
  return linkTo(toValue(state, index, as), marks, text);
}

/** Values as links with commas between; of very many only some. */
function valueLinks(state, indices, note = () => null, most = 24) {
  const links = indices.slice(0, most).map((index) => [valueLink(`%${valueAt(state, index).name}`, state, index), note(index)]);
  const more = indices.length - links.length;
  return [links.map((link, at) => [at > 0 && ", ", link]), more > 0 && ` and ${integer(more)} more`];
}

/** A line of text in columns before it. Lines wrap, indented under their beginning; copying one copies its text alone. */
function codeLine(columns, text, nodes, attributes = {}) {
  const line = element("span", { class: "text" }, nodes);
  line.style.setProperty("--indent", text.length - text.trimStart().length);
  return element("div", { ...attributes, class: `line ${attributes.class ?? ""}` }, columns, line);
}

/** A column that is seen, but neither copied nor searched. */
const margin = (className, text) => element("span", { class: `margin ${className}`, "data-text": text });

/** Some lines by themselves, like those that a rule rewrote. */
function codeBlock(lines, where, attributes = {}, differs = []) {
  const made = lines.map((line, at) => codeLine([], line, codeOf(line, where, differs[at])));
  return element("div", { ...attributes, class: `code ${attributes.class ?? ""}` }, made);
}

/** Marks all links to the selected value. */
function markSelected() {
  const selected = selectedValue();
  document.querySelectorAll(".selected").forEach((link) => link.classList.remove("selected"));
  if (!selected) return;
  const links = document.querySelectorAll(`[data-state="${selected.state}"][data-value="${selected.index}"]`);
  links.forEach((link) => link.classList.add("selected"));
}
