// Pans and zooms a drawing.

/** How wide a view can be. */
const room = () => Math.max(300, byId("main").clientWidth);

/** What part of a drawing is seen. Dragging moves it; buttons, keys and the wheel bring it nearer. */
class Camera {
  constructor(svg, width, height, center) {
    Object.assign(this, { svg, width, height });
    this.fit();
    const [wide, high] = [room(), 0.6 * innerHeight];
    if (width > 1.25 * wide || height > 1.25 * high) {
      // As near to the middle as the drawing's ends allow.
      const within = (middle, size, whole) => Math.max(Math.min(middle - size / 2, whole - size), Math.min(0, (whole - size) / 2));
      this.box = { x: within(center.x, wide, width), y: within(center.y, high, height), width: wide, height: high };
      this.apply();
    }
    this.listen();
  }

  fit() {
    // A small graph is not enlarged.
    const width = Math.max(this.width, room());
    this.box = { x: (this.width - width) / 2, y: 0, width, height: this.height };
    this.apply();
  }

  apply() {
    const { x, y, width, height } = this.box;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  }

  /** Brings what is at a point, or in the middle, nearer. */
  zoom(factor, x = this.box.x + this.box.width / 2, y = this.box.y + this.box.height / 2) {
    const { box } = this;
    const nearer = (corner, point) => point - (point - corner) / factor;
    this.box = { x: nearer(box.x, x), y: nearer(box.y, y), width: box.width / factor, height: box.height / factor };
    this.apply();
  }

  move(right, down) {
    this.box.x += right;
    this.box.y += down;
    this.apply();
  }

  /** A point of the screen as one of the drawing. */
  point(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
  }

  listen() {
    const { svg } = this;
    let held = null;
    svg.addEventListener("pointerdown", (event) => {
      const { x, y } = this.point(event);
      held = { x, y, from: [event.clientX, event.clientY], pointer: event.pointerId };
    });
    svg.addEventListener("pointermove", (event) => {
      if (!held || !(event.buttons & 1)) return;
      // A press that hardly moves is a click on a node; capturing the pointer would take that away.
      const moved = Math.hypot(event.clientX - held.from[0], event.clientY - held.from[1]);
      if (moved < 4 && !svg.hasPointerCapture(held.pointer)) return;
      svg.setPointerCapture(held.pointer);
      const { x, y } = this.point(event);
      this.move(held.x - x, held.y - y);
    });
    svg.addEventListener("pointerup", () => (held = null));
    // A link would be dragged instead of the drawing.
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("wheel", (event) => {
      // Else the page would not scroll past a drawing that the pointer happens to be over.
      if (!event.ctrlKey && !svg.contains(document.activeElement)) return;
      const { x, y } = this.point(event);
      this.zoom(Math.exp(-event.deltaY / 400), x, y);
      event.preventDefault();
    }, { passive: false });
    svg.addEventListener("keydown", (event) => {
      const step = this.box.width / 10;
      const act = {
        "+": () => this.zoom(1.25),
        "=": () => this.zoom(1.25),
        "-": () => this.zoom(0.8),
        0: () => this.fit(),
        ArrowLeft: () => this.move(-step, 0),
        ArrowRight: () => this.move(step, 0),
        ArrowUp: () => this.move(0, -step),
        ArrowDown: () => this.move(0, step),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey) return;
      act();
      event.preventDefault();
    });
  }

  buttons() {
    const button = (label, text, click) => element("button", { "aria-label": label, title: label, click }, text);
    return element("div", { class: "camera" },
      button("Nearer", "+", () => this.zoom(1.25)),
      button("Farther", "−", () => this.zoom(0.8)),
      button("Show all", "⤢", () => this.fit()));
  }
}
