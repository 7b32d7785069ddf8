/** "Watch it draw": a seed, and the drawing that the model makes of it, step by step. */

import { Lane } from "./lane.js";
import { Picture, borders, paint } from "./picture.js";
import { Player } from "./player.js";
import { tell } from "./trouble.js";

/** After so many milliseconds without another seed all the steps are asked for, and not the last alone. */
const QUIET = 250;

export class Watch {
  #lane = new Lane();
  #model = null;
  #sequence = null;

  /**
   * `failed(error, trouble)` hears of what the model refuses, and where to tell it; `changed()` is called where the
   * drawing becomes another.
   */
  constructor(section, failed, changed) {
    Object.assign(this, { section, failed, changed });
    this.trouble = section.querySelector(".error");
    this.picture = new Picture(section.querySelector("[data-picture=drawn]"), "The model's drawing");
    this.player = new Player(section.querySelector(".player"), (step) => this.#show(step));
    this.strip = section.querySelector(".strip");
    this.slider = section.querySelector("#seed");
    this.number = section.querySelector("#seed-number");
    /** Of the drawing; a browser may have kept it over a reload. */
    this.seed = this.number.valueAsNumber;
    this.slider.addEventListener("input", () => this.#choose(this.slider, this.number));
    this.number.addEventListener("input", () => this.#choose(this.number, this.slider));
    this.strip.addEventListener("click", ({ target }) => {
      const step = [...this.strip.children].indexOf(target) + 1;
      if (!step) return;
      this.player.stop();
      this.player.step = step;
    });
  }

  open(model) {
    this.close();
    this.#model = model;
    this.section.hidden = false;
    this.section.querySelector(".legend").hidden = !("write_window" in model.signatures.sample_sequence.outputs);
    this.picture.open(model.shape);
    this.#lane.ask((signal) => this.#draw(signal));
  }

  close() {
    this.#lane.cancel();
    this.player.stop();
    this.#model = this.#sequence = null;
    this.section.hidden = true;
  }

  #choose(from, to) {
    if (!from.checkValidity() || from.value === "") return;
    to.value = from.value;
    this.seed = from.valueAsNumber;
    this.player.stop();
    if (!this.#model) return;
    this.changed();
    // While the seed moves, the finished image alone: SVHN's is 0.2 MB of JSON, and its 32 steps are 6.
    this.#lane.ask((signal) => this.#glance(signal));
  }

  #glance(signal) {
    return this.#answered("sample", signal, ({ image: [image] }, seed) => {
      this.#sequence = null;
      this.strip.classList.add("stale");
      this.picture.show(image);
      this.picture.label = `The model's drawing with seed ${seed}`;
      this.picture.mark([]);
      if (seed === this.seed) this.#lane.ask((later) => this.#draw(later), QUIET);
    });
  }

  #draw(signal) {
    return this.#answered("sample_sequence", signal, ({ canvas: [canvas], write_window: [windows] = [] }, seed) => {
      // Another was chosen meanwhile, whose own request follows.
      if (seed !== this.seed) return;
      this.#sequence = { canvas, windows, borders: windows && borders(windows) };
      this.strip.replaceChildren(...canvas.map((pixels) => {
        const thumbnail = document.createElement("canvas");
        paint(thumbnail, pixels);
        return thumbnail;
      }));
      this.strip.classList.remove("stale");
      this.player.start(canvas.length);
    });
  }

  async #answered(signature, signal, use) {
    const { seed } = this;
    try {
      const answer = await this.#model.predict(signature, { seed: [[seed, 0]] }, signal);
      tell(this.trouble);
      use(answer, seed);
    } catch (error) {
      this.failed(error, this.trouble);
    }
  }

  #show(step) {
    if (!this.#sequence) return;
    const { canvas, windows, borders: widths } = this.#sequence;
    this.picture.show(canvas[step - 1]);
    this.picture.label = `The model's drawing with seed ${this.seed} after step ${step} of ${canvas.length}`;
    const window = windows?.[step - 1];
    this.picture.mark(window ? [{ window, size: this.#model.write, kind: "write", border: widths[step - 1] }] : []);
    [...this.strip.children].forEach((thumbnail, place) => thumbnail.classList.toggle("now", place === step - 1));
  }
}
