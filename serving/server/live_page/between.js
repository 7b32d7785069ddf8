/** "In between": drawings on the way from the model's own to a person's, by their latent variables. */

import { Lane } from "./lane.js";
import { seedNoise } from "./noise.js";
import { Picture } from "./picture.js";
import { tell } from "./trouble.js";

/** After so many milliseconds without a stroke the person's drawing is encoded. */
const QUIET = 200;

export class Between {
  #lane = new Lane();
  #model = null;
  #last = null;

  /**
   * `seed()` is that of the model's own drawing, `image()` the person's, null where there is none; `noise` is the seed
   * of its latent variables' noise. `failed(error, trouble)` is as Watch's.
   */
  constructor(section, { seed, image, noise, failed }) {
    Object.assign(this, { section, seed, image, noise, failed });
    this.trouble = section.querySelector(".error");
    this.picture = new Picture(section.querySelector("[data-picture=between]"), "A drawing in between");
    this.slider = section.querySelector("#share");
    this.slider.addEventListener("input", () => this.#lane.ask((signal) => this.#draw(signal)));
  }

  open(model) {
    this.close();
    if (!model.has("decode") || !model.has("encode")) return;
    this.#model = model;
    this.picture.open(model.shape);
    this.changed();
  }

  close() {
    this.#lane.cancel();
    this.#model = this.#last = null;
    this.section.hidden = true;
  }

  /** One of the two drawings is another. */
  changed() {
    this.#last = null;
    this.section.hidden = !this.#model || !this.image();
    if (this.section.hidden) this.#lane.cancel();
    else this.#lane.ask((signal) => this.#draw(signal), QUIET);
  }

  async #draw(signal) {
    const share = this.slider.valueAsNumber / 100;
    const [, steps, latents] = this.#model.signatures.decode.inputs.z.tensor_shape.dim.map(({ size }) => Number(size));
    try {
      if (!this.#last) {
        const eps = [seedNoise(this.noise, steps, latents)];
        const { z } = await this.#model.predict("encode", { image: [this.image()], eps }, signal);
        this.#last = z[0];
      }
      const z = between(seedNoise([this.seed(), 0], steps, latents), this.#last, share);
      const { image } = await this.#model.predict("decode", { z: [z] }, signal);
      tell(this.trouble);
      this.picture.show(image[0]);
      this.picture.label = `A drawing ${Math.round(100 * share)}% of the way from the model's own to yours`;
    } catch (error) {
      this.failed(error, this.trouble);
    }
  }
}

/** A point on the arc from one z [T][Z] to another: serving/latent_path.py says why an arc. */
function between(first, last, share) {
  const sum = (term) => first.reduce((all, row, t) => row.reduce((some, a, i) => some + term(a, last[t][i]), all), 0);
  const lengths = Math.sqrt(sum((a) => a * a) * sum((_, b) => b * b));
  const angle = lengths ? Math.acos(Math.min(1, Math.max(-1, sum((a, b) => a * b) / lengths))) : 0;
  const curved = angle > 1e-3 && angle < Math.PI - 1e-3;
  const [from, to] = curved
    ? [1 - share, share].map((part) => Math.sin(part * angle) / Math.sin(angle))
    : [1 - share, share];
  return first.map((row, t) => row.map((a, i) => from * a + to * last[t][i]));
}
