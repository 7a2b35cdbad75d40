"use strict";
// Sorts tables and compares pictures. Without it the page has all of its tables, plots and pictures.

/** Makes each title of a table a button that sorts its rows: by number where they have one, else by text. */
function makeSortable(table) {
  const titles = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const descending = title.getAttribute("aria-sort") === "ascending";
      titles.forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", descending ? "descending" : "ascending");
      body.append(...sorted([...body.rows], column, descending ? -1 : 1));
    });
  });
}

/** `rows` by their cells in `column`; what is not known comes last in both directions. */
function sorted(rows, column, sign) {
  const key = (row) => {
    const cell = row.cells[column];
    const { value } = cell.dataset;
    // A name has marks around it.
    if (value === undefined) return (cell.querySelector("bdi") ?? cell).textContent;
    return value === "" ? null : Number(value);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  return rows
    .map((row) => ({ row, key: key(row) }))
    .sort((a, b) => (a.key === null) - (b.key === null) || (a.key !== null && sign * compare(a.key, b.key)) || 0)
    .map(({ row }) => row);
}

/** Compares two pictures of the section: a wipe, both side by side, or the difference. */
class Viewer {
  constructor(section) {
    const find = (selector) => section.querySelector(selector);
    this.prompt = find("select.prompt");
    this.sides = [find("select.left"), find("select.right")];
    this.gain = find(".gain select");
    this.wipe = find(".wipe");
    this.stage = find(".stage");
    this.frame = find(".frame");
    this.images = [find(".frame .left"), find(".frame .right")];
    this.canvas = find("canvas");
    this.caption = find("figcaption");
    this.section = section;
    find(".all").open = false;
    find(".viewer").hidden = false;
    [this.prompt, ...this.sides].forEach((select) => select.addEventListener("change", () => this.show()));
    this.gain.addEventListener("change", () => this.drawDifference());
    this.wipe.addEventListener("input", () => this.cut());
    section.querySelectorAll("input[type=radio]").forEach((radio) =>
      radio.addEventListener("change", () => {
        this.stage.dataset.view = radio.value;
        this.drawDifference();
      }),
    );
    section.querySelectorAll(".sheet button").forEach((button) =>
      button.addEventListener("click", () => {
        this.prompt.value = button.dataset.prompt;
        this.sides[1].value = button.dataset.row;
        this.show();
        this.stage.scrollIntoView({ block: "nearest" });
      }),
    );
    const drag = (event) => {
      if (this.stage.dataset.view !== "wipe" || !(event.buttons & 1)) return;
      const { left, width } = this.frame.getBoundingClientRect();
      this.wipe.value = (100 * (event.clientX - left)) / width;
      this.cut();
      event.preventDefault();
    };
    this.frame.addEventListener("pointerdown", (event) => {
      this.frame.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.frame.addEventListener("pointermove", drag);
    this.show();
    this.cut();
  }

  /** The button of a side's picture in the table of all, if it is there. */
  source(side) {
    const row = this.sides[side].value;
    return this.section.querySelector(`.sheet button[data-prompt="${this.prompt.value}"][data-row="${row}"]`);
  }

  show() {
    const sources = [this.source(0), this.source(1)];
    sources.forEach((source, side) => {
      const image = this.images[side];
      const original = source?.querySelector("img");
      if (original) {
        image.src = original.src;
        image.alt = original.alt;
        image.width = original.getAttribute("width");
        image.height = original.getAttribute("height");
        // Small pictures are enlarged by a whole number.
        const wide = Number(original.getAttribute("width"));
        const scale = Math.max(1, Math.floor(512 / wide));
        this.stage.style.setProperty("--width", `${wide * scale}px`);
        this.frame.classList.toggle("small", scale > 1);
      } else {
        image.removeAttribute("src");
        image.alt = "This picture is missing";
      }
    });
    const name = (side) => this.sides[side].selectedOptions[0].textContent;
    const words = (source, side) => {
      if (!source) return `${name(side)} (missing)`;
      const { psnr } = source.dataset;
      return psnr ? `${name(side)}, ${psnr} dB to the base` : name(side);
    };
    this.caption.textContent = `Left: ${words(sources[0], 0)}. Right: ${words(sources[1], 1)}.`;
    this.drawDifference();
  }

  cut() {
    this.stage.style.setProperty("--cut", `${this.wipe.value}%`);
    this.wipe.setAttribute("aria-valuetext", `${this.wipe.value} % left, ${100 - this.wipe.value} % right`);
  }

  /** The absolute difference of both pictures, amplified: black where they are equal. */
  async drawDifference() {
    if (this.stage.dataset.view !== "difference") return;
    const gain = Number(this.gain.value);
    this.canvas.setAttribute("aria-label", `Difference of both pictures, ${gain} times amplified`);
    const [left, right] = [0, 1].map((side) => this.source(side)?.querySelector("img"));
    if (!left || !right) {
      this.canvas.width = this.canvas.height = 1;
      return;
    }
    // Decoding takes a while; meanwhile others may have been chosen.
    const asked = (this.asked = {});
    await Promise.all([left.decode(), right.decode()]);
    if (asked !== this.asked) return;
    const [width, height] = [left.naturalWidth, left.naturalHeight];
    const pixels = (image) => {
      const canvas = new OffscreenCanvas(width, height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0, width, height);
      return context.getImageData(0, 0, width, height);
    };
    const [a, b] = [pixels(left), pixels(right)];
    for (let at = 0; at < a.data.length; at++) {
      a.data[at] = at % 4 === 3 ? 255 : Math.min(255, gain * Math.abs(a.data[at] - b.data[at]));
    }
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.getContext("2d").putImageData(a, 0, 0);
    this.canvas.dataset.drawn = `${this.prompt.value} ${this.sides[0].value} ${this.sides[1].value} ${gain}`;
  }
}

document.querySelectorAll("table.rows").forEach(makeSortable);
document.querySelectorAll("section.pictures").forEach((section) => new Viewer(section));
// On paper everything is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
