/** The cards of the page, whatever computes what they show: a server, or the browser itself. */

import { Between } from "./between.js";
import { NOISE, Try } from "./try.js";
import { Watch } from "./watch.js";

const find = (id) => document.getElementById(id);

export class Cards {
  /** `failed(error, trouble)` hears of what the model refuses, and where to tell it. */
  constructor(failed) {
    this.watch = new Watch(find("watch"), failed, () => this.between.changed());
    this.attempt = new Try(find("try"), () => this.watch.seed, failed, () => this.between.changed());
    this.between = new Between(find("between"), {
      seed: () => this.watch.seed,
      image: () => this.attempt.image,
      noise: NOISE,
      failed,
    });
  }

  /** Shows a model: {title, shape, binary, read, write, preparation, signatures, has(name), predict(...), reference()}. */
  open(model) {
    const [rows, columns, channels] = model.shape;
    find("about").textContent = `${model.title}: ${columns} × ${rows} pixels${channels === 3 ? " in colour" : ""}`;
    find("try-title").textContent = model.has("classify") ? "Have it look" : "Draw yourself";
    if (model.has("sample_sequence")) this.watch.open(model);
    this.attempt.open(model);
    this.between.open(model);
  }

  close() {
    for (const card of [this.watch, this.attempt, this.between]) card.close();
    find("about").textContent = "";
  }
}
