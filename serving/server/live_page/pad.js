/** A canvas of the model's pixels that one draws on. */

import { Picture, paint } from "./picture.js";

export class Pad {
  // As it was drawn, with soft edges; what is seen is what the model is given.
  #ink = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  #last = null;

  /** Fills an element of class `picture`; `changed()` is called after each stroke of the pen. */
  constructor(root, changed) {
    this.picture = new Picture(root, "Your drawing");
    this.changed = changed;
    this.colour = "#ffffff";
    this.rubs = false;
    const { canvas } = this.picture;
    canvas.classList.add("pad");
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.#last = null;
      this.#draw([event]);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.#last) return;
      // Between two frames a fast hand passes several points.
      const passed = event.getCoalescedEvents?.() ?? [];
      this.#draw(passed.length ? passed : [event]);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.#last = null));
  }

  /** Empties it for images [rows, columns, channels], and keeps what is drawn where they are of the same shape. */
  open(shape, binary, preparation = {}) {
    this.preparation = preparation;
    const kept = String(shape) === String(this.shape) && this.#ink.getImageData(0, 0, shape[1], shape[0]);
    this.shape = shape;
    this.binary = binary;
    const [rows, columns] = shape;
    Object.assign(this.#ink.canvas, { width: columns, height: rows });
    this.picture.open(shape);
    this.#ink.lineCap = this.#ink.lineJoin = "round";
    // MNIST's strokes are as wide, in images that are larger too.
    this.#ink.lineWidth = Math.min(2.6, Math.max(1.2, Math.min(rows, columns) / 11));
    if (kept) this.#ink.putImageData(kept, 0, 0);
    else this.#fill("#000000");
    this.#show();
  }

  /** [rows][columns][channels], in [0, 1]: exactly what is seen. */
  pixels() {
    const [rows, columns, channels] = this.shape;
    const { data } = this.#given();
    const value = (row, column, channel) => data[4 * (row * columns + column) + channel] / 255;
    return fill(rows, (row) => fill(columns, (column) => fill(channels, (channel) => value(row, column, channel))));
  }

  get empty() {
    return !this.#given().data.some((value, place) => place % 4 < 3 && value);
  }

  clear() {
    this.#fill("#000000");
    this.#done();
  }

  invert() {
    const { data } = this.#image();
    this.#put(data.map((value, place) => (place % 4 < 3 ? 255 - value : 255)));
  }

  /** Pixels that no model has learned from. */
  noise() {
    this.#put(this.#image().data.map((_, place) => (place % 4 < 3 ? 256 * Math.random() : 255)));
  }

  /** An image [rows][columns][channels] in [0, 1]. */
  put(pixels) {
    const canvas = document.createElement("canvas");
    paint(canvas, pixels);
    this.#ink.drawImage(canvas, 0, 0);
    this.#done();
  }

  /** A picture of any size, {name, bitmap}, prepared as the model's own were. Throws where it is too small. */
  place({ name, bitmap }) {
    const { crop, resize = "fit", padding = 0, background, crop_margin: margin = [0, 0] } = this.preparation;
    const [high, wide] = crop ?? [bitmap.height, bitmap.width];
    if (bitmap.height < high || bitmap.width < wide) {
      const size = `${bitmap.height} x ${bitmap.width}`;
      throw Object.assign(new Error(`${name} has ${size} pixels, and the model's images are cut to ${high} x ${wide}.`), {
        status: 0,
      });
    }
    const [rows, columns] = this.shape;
    const ratios = [(columns + margin[1]) / wide, (rows + margin[0]) / high];
    const same = resize === "fill" ? Math.max(...ratios) : Math.min(...ratios);
    const [width, height] = resize === "stretch" ? [ratios[0] * wide, ratios[1] * high] : [same * wide, same * high];
    const [left, top] = [(columns - width) / 2, (rows - height) / 2];
    this.#fill(`rgb(${[padding, padding, padding]})`);
    if (background) {
      this.#ink.fillStyle = `rgb(${background})`;
      this.#ink.fillRect(left, top, width, height);
    }
    this.#ink.imageSmoothingQuality = "high";
    // Cut first: a canvas that scales a part of a picture looks beyond that part's edge.
    let source = bitmap;
    if (crop) {
      source = Object.assign(document.createElement("canvas"), { width: wide, height: high });
      const [x, y] = [Math.floor((bitmap.width - wide) / 2), Math.floor((bitmap.height - high) / 2)];
      source.getContext("2d").drawImage(bitmap, -x, -y);
    }
    this.#ink.drawImage(source, left, top, width, height);
    this.#done();
  }

  #draw(events) {
    const { canvas } = this.picture;
    const box = canvas.getBoundingClientRect();
    this.#ink.strokeStyle = this.rubs ? "#000000" : this.shape[2] === 1 ? "#ffffff" : this.colour;
    for (const { clientX, clientY } of events) {
      const to = [((clientX - box.left) / box.width) * canvas.width, ((clientY - box.top) / box.height) * canvas.height];
      this.#ink.beginPath();
      this.#ink.moveTo(...(this.#last ?? to));
      this.#ink.lineTo(...to);
      this.#ink.stroke();
      this.#last = to;
    }
    this.#done();
  }

  #fill(style) {
    this.#ink.fillStyle = style;
    this.#ink.fillRect(0, 0, this.#ink.canvas.width, this.#ink.canvas.height);
  }

  #image() {
    return this.#ink.getImageData(0, 0, this.#ink.canvas.width, this.#ink.canvas.height);
  }

  #put(data) {
    this.#ink.putImageData(new ImageData(data, this.#ink.canvas.width), 0, 0);
    this.#done();
  }

  /** Grey, and 0 or 1, where the model's images are. */
  #given() {
    const image = this.#image();
    if (this.shape[2] === 1) {
      const { data } = image;
      for (let place = 0; place < data.length; place += 4) {
        const grey = Math.round(0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2]);
        data.fill(this.binary ? 255 * (grey > 127) : grey, place, place + 3);
      }
    }
    return image;
  }

  #show() {
    this.picture.canvas.getContext("2d").putImageData(this.#given(), 0, 0);
  }

  #done() {
    this.#show();
    this.changed();
  }
}

/** Reads a picture, upright, as `place` takes it. Rejects where it is none. */
export async function readPicture(file) {
  try {
    // The numbers that are in the file, as `draw score` takes them: neither a profile nor a gamma changes them.
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    return { name: file.name, bitmap };
  } catch {
    throw Object.assign(new Error(`${file.name} is no picture that this browser reads.`), { status: 0 });
  }
}

function fill(length, make) {
  return Array.from({ length }, (_, place) => make(place));
}
