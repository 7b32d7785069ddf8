/** "Draw yourself": what a person draws or loads, scored and rebuilt by the model, or classified. */

import { Lane } from "./lane.js";
import { Pad, readPicture } from "./pad.js";
import { Picture, borders } from "./picture.js";
import { Player } from "./player.js";
import { Probabilities } from "./probabilities.js";
import { Score } from "./score.js";
import { tell } from "./trouble.js";

/** After so many milliseconds without a stroke the steps are asked for; the score follows the pen. */
const QUIET = 200;
/** Of the model's noise: the score is of the very reconstruction that is shown. */
export const NOISE = [0, 0];

export class Try {
  #lane = new Lane();
  #stepsLane = new Lane();
  #model = null;
  #steps = null;
  #changes = 0;
  #opened = Promise.withResolvers();

  /** `seed()` is that of the model's own drawing; `failed(error, trouble)` and `changed()` are as Watch's. */
  constructor(section, seed, failed, changed) {
    const find = (selector) => section.querySelector(selector);
    this.section = section;
    this.failed = failed;
    this.changed = changed;
    this.trouble = find(".error");
    this.pad = new Pad(find("[data-picture=pad]"), () => this.#changed());
    this.rebuilt = new Picture(find("[data-picture=rebuilt]"), "The model's reconstruction");
    this.player = new Player(find(".player"), (step) => this.#show(step));
    this.score = new Score(find("#score"), (step) => this.#jump(step));
    this.probabilities = new Probabilities(find("#classes"));
    find("#clear").addEventListener("click", () => this.pad.clear());
    find("#invert").addEventListener("click", () => this.pad.invert());
    find("#noise").addEventListener("click", () => this.pad.noise());
    find("#take").addEventListener("click", () => this.#lane.ask((signal) => this.#take(seed(), signal)));
    find("#rub").addEventListener("change", ({ target }) => (this.pad.rubs = target.checked));
    find("#colour").addEventListener("input", ({ target }) => (this.pad.colour = target.value));
    const file = find("#file");
    find("#load").addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      if (file.files.length) await this.#load(file.files[0]);
      // So that the same file may be chosen again.
      file.value = "";
    });
  }

  open(model) {
    this.close();
    this.#model = model;
    const { section } = this;
    const classifies = model.has("classify");
    const shown = {
      "#rebuilt": !classifies,
      "#classes": classifies,
      "#score": !classifies,
      "#take": !classifies,
      "#ink": model.shape[2] === 3,
      ".legend": classifies || "read_window" in model.signatures.reconstruct.outputs,
      ".writes": !classifies,
    };
    for (const [selector, visible] of Object.entries(shown)) section.querySelector(selector).hidden = !visible;
    section.hidden = false;
    section.querySelector(".lead").textContent = `${
      model.shape[2] === 3 ? "Load a picture, or draw one" : "Draw with the mouse, a pen or a finger"
    }${model.binary ? "; a pixel is black or white, as those that the model has learned from." : "."}`;
    this.rebuilt.open(model.shape);
    if (!classifies) this.score.open(model);
    this.pad.open(model.shape, model.binary, model.preparation);
    this.#changed();
    this.#opened.resolve();
  }

  close() {
    this.#lane.cancel();
    this.#stepsLane.cancel();
    this.score.close();
    this.player.open(1);
    if (this.#model) this.#opened = Promise.withResolvers();
    this.#model = this.#steps = null;
    this.section.hidden = true;
  }

  /** What is drawn, [rows][columns][channels]; null where nothing is. */
  get image() {
    return this.#model && !this.pad.empty ? this.pad.pixels() : null;
  }

  /** Puts a picture on the pad; where no model is open, on the next one's. */
  async #load(file) {
    try {
      const picture = await readPicture(file);
      await this.#opened.promise;
      this.pad.place(picture);
    } catch (error) {
      tell(this.trouble, error);
    }
  }

  /** Asks anew. */
  #changed() {
    this.#changes += 1;
    this.player.stop();
    this.pad.picture.mark([]);
    this.rebuilt.mark([]);
    this.rebuilt.root.classList.add("stale");
    this.#steps = null;
    tell(this.trouble);
    this.changed();
    if (this.pad.empty) {
      this.#lane.cancel();
      this.#stepsLane.cancel();
      this.player.open(1);
      this.rebuilt.open(this.#model.shape);
      this.score.forget();
      this.probabilities.open();
    } else if (this.#model.has("classify")) {
      this.#lane.ask((signal) => this.#classify(signal));
    } else {
      this.#lane.ask((signal) => this.#askScore(signal));
      this.#stepsLane.ask((signal) => this.#rebuild(signal), QUIET);
    }
  }

  #take(seed, signal) {
    return this.#answered("sample", { seed: [[seed, 0]] }, signal, ({ image: [image] }) => this.pad.put(image));
  }

  #askScore(signal) {
    return this.#answered("score", this.#inputs(), signal, (answer) => this.score.show(answer));
  }

  #rebuild(signal) {
    const changes = this.#changes;
    return this.#answered("reconstruct", this.#inputs(), signal, (answer) => {
      // The pen has gone on: the windows would be over another drawing.
      if (changes !== this.#changes) return;
      const { canvas: [canvas], read_window: [reads] = [], write_window: [writes] = [] } = answer;
      const marks = (windows, size, kind) => {
        const widths = borders(windows);
        return windows.map((window, place) => [{ window, size, kind, border: widths[place] }]);
      };
      const read = reads && marks(reads, this.#model.read, "read");
      const written = writes && marks(writes, this.#model.write, "write");
      this.rebuilt.root.classList.remove("stale");
      this.#begin(canvas.length, (step) => {
        this.rebuilt.show(canvas[step - 1]);
        this.rebuilt.label = `The model's reconstruction after step ${step} of ${canvas.length}`;
        this.score.mark(step);
        if (read) this.pad.picture.mark(read[step - 1]);
        if (written) this.rebuilt.mark(written[step - 1]);
      });
    });
  }

  #classify(signal) {
    const changes = this.#changes;
    return this.#answered("classify", { image: [this.pad.pixels()] }, signal, (answer) => {
      const { probabilities: [probabilities], label: [label], glimpse_window: [windows] } = answer;
      this.probabilities.show(probabilities, label, this.#model.classNames);
      if (changes !== this.#changes) return;
      const size = this.#model.read;
      this.#begin(windows.length, (step) => {
        this.pad.picture.mark(windows.slice(0, step).map((window, place) => (
          place === step - 1 ? { window, size, kind: "read", border: 3 } : { window, size, kind: "read past", border: 1 }
        )));
      });
    });
  }

  #inputs() {
    return { image: [this.pad.pixels()], seed: [NOISE] };
  }

  #begin(steps, show) {
    this.#steps = show;
    this.player.start(steps);
  }

  async #answered(signature, inputs, signal, use) {
    try {
      use(await this.#model.predict(signature, inputs, signal));
    } catch (error) {
      this.failed(error, this.trouble);
    }
  }

  #jump(step) {
    this.player.stop();
    this.player.step = step;
  }

  #show(step) {
    this.#steps?.(step);
  }
}
