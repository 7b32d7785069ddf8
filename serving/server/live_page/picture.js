/** A picture of the model's pixels, with windows over it. */

const SVG = "http://www.w3.org/2000/svg";
const WIDEST_BORDER = 6;
/** Of the image's size, around it: windows reach beyond. style.css has the same. */
const MARGIN = 0.1;

export class Picture {
  #svg = document.createElementNS(SVG, "svg");

  /** Fills an element of class `picture`. */
  constructor(root, label) {
    this.root = root;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.label = label;
    this.#svg.setAttribute("aria-hidden", "true");
    this.#svg.setAttribute("preserveAspectRatio", "none");
    root.append(this.canvas, this.#svg);
  }

  set label(text) {
    this.canvas.setAttribute("aria-label", text);
  }

  /** Empties it for images [rows, columns, channels]. */
  open([rows, columns]) {
    this.canvas.width = columns;
    this.canvas.height = rows;
    this.root.style.aspectRatio = `${columns} / ${rows}`;
    const [left, top] = [-MARGIN * columns, -MARGIN * rows];
    this.#svg.setAttribute("viewBox", `${left} ${top} ${columns - 2 * left} ${rows - 2 * top}`);
    this.mark([]);
  }

  /** Shows an image [rows][columns][channels] in [0, 1]. */
  show(pixels) {
    paint(this.canvas, pixels);
  }

  /**
   * Outlines windows, each {window: (centre x, centre y, stride, variance, intensity), size, kind, border}, and no
   * others. (0, 0) is the centre of the first pixel, so half a pixel from the corner. A window of unknown size has its
   * centre marked.
   */
  mark(windows) {
    this.#svg.replaceChildren(...windows.flatMap(({ window: [x, y, stride], size, kind, border = 2 }) => {
      // A line of no length with round ends is a point.
      const reach = size ? ((size - 1) / 2) * stride : 0;
      return ["halo", kind].map((role) => {
        const shape = document.createElementNS(SVG, "rect");
        const place = { x: x + 0.5 - reach, y: y + 0.5 - reach, width: 2 * reach, height: 2 * reach };
        if (!size) Object.assign(place, { x: x + 0.49, y: y + 0.49, width: 0.02, height: 0.02 });
        for (const [name, value] of Object.entries(place)) shape.setAttribute(name, value);
        shape.setAttribute("class", role);
        shape.style.strokeWidth = `${(size ? border : WIDEST_BORDER) + (role === "halo" ? 2 : 0)}px`;
        return shape;
      });
    }));
  }
}

/** Draws an image [rows][columns][channels] in [0, 1] on a canvas, pixel for pixel. */
export function paint(canvas, pixels) {
  const [rows, columns] = [pixels.length, pixels[0].length];
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  let place = 0;
  for (const row of pixels) {
    for (const pixel of row) {
      for (let channel = 0; channel < 3; channel += 1) {
        image.data[place + channel] = Math.round(255 * pixel[pixel.length === 1 ? 0 : channel]);
      }
      image.data[place + 3] = 255;
      place += 4;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Widths of the borders of one drawing's windows: in proportion to their precision 1/sigma. */
export function borders(windows) {
  const precisions = windows.map((window) => 1 / Math.sqrt(Math.max(window[3], Number.MIN_VALUE)));
  const greatest = Math.max(...precisions);
  return precisions.map((precision) => Math.max(1, (WIDEST_BORDER * precision) / greatest));
}
