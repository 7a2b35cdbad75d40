// A directed graph as layers, laid out by dagre, in a figure that pans and zooms.

const [NODE_HEIGHT, CHARACTER] = [40, 6.9];

/**
 * Draws `nodes` ({ id, label, detail, changes, title, fill, isCenter, data }) and `edges` ({ from, to, isDashed }). It begins with what
 * is around the center, or the first node, at the size of text; or with everything if that fits.
 */
function drawing(label, nodes, edges) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 34, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) {
    const width = 18 + CHARACTER * Math.max(node.label.length, node.detail.length, 6);
    graph.setNode(node.id, { width: Math.min(width, 300), height: NODE_HEIGHT });
  }
  // An edge from the round before is laid out backwards, so that it does not turn others around.
  const ends = ({ from, to, isDashed }) => (isDashed ? [String(to), String(from)] : [String(from), String(to)]);
  const [loops, others] = [edges.filter(({ from, to }) => from === to), edges.filter(({ from, to }) => from !== to)];
  others.forEach((edge) => graph.setEdge(...ends(edge)));
  dagre.layout(graph);

  const content = svgElement("g", {},
    others.map((edge) => drawnEdge(path(graph.edge(...ends(edge)).points, edge.isDashed), edge.isDashed)),
    loops.map(({ to, isDashed }) => drawnEdge(loop(graph.node(String(to))), isDashed)),
    nodes.map((node) => drawnNode(graph.node(node.id), node)));
  const svg = svgElement("svg", { role: "group", "aria-label": label, tabindex: 0 }, arrowHead(), content);
  const { width, height } = graph.graph();
  svg.style.height = `min(60vh, ${Math.max(height, 240)}px)`;
  const center = nodes.find((node) => node.isCenter) ?? nodes[0];
  return element("div", { class: "drawing" }, new Camera(svg, width, height, graph.node(center.id)).buttons(), svg);
}

function drawnNode({ x, y, width, height }, { label, detail, changes, title, fill, isCenter, data }) {
  const shown = (text) => (text.length * CHARACTER > width ? `${text.slice(0, Math.floor(width / CHARACTER) - 2)}…` : text);
  const rectangle = svgElement("rect", { width, height, rx: 4, fill });
  const transform = `translate(${x - width / 2} ${y - height / 2})`;
  const link = svgElement("a", { ...data, class: isCenter ? "node center" : "node", transform },
    svgElement("title", {}, title), rectangle,
    svgElement("text", { x: width / 2, y: 17 }, shown(label)),
    svgElement("text", { x: width / 2, y: 32, class: "detail" }, shown(detail)));
  return aimed(link, changes);
}

function path(points, isBackwards) {
  const [first, ...rest] = (isBackwards ? points.toReversed() : points).map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`);
  return `M${first}L${rest.join("L")}`;
}

/** Of a value that is made from itself, round after round. */
const loop = ({ x, y, width }) => `M${x + width / 2} ${y + 10}c20 8 20 -28 0 -20`;

function drawnEdge(d, isDashed) {
  return svgElement("path", { class: "edge", d, "stroke-dasharray": isDashed ? "4 3" : null, "marker-end": "url(#arrow)" });
}

function arrowHead() {
  const tip = svgElement("path", { d: "M0 0L8 4L0 8z", class: "arrow" });
  const size = { viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7 };
  return svgElement("defs", {}, svgElement("marker", { id: "arrow", orient: "auto", ...size }, tip));
}
