/** The bound of an image with its parts, and where it falls among those of images that the model was judged on. */

import { Lane } from "./lane.js";

const PARTS = ["nll_bound", "reconstruction", "kl"];
/** Numbers in a request for the usual range, about. */
const PIXELS = 32768;

export class Score {
  #lane = new Lane();
  #model = null;
  #reference = null;
  #usual = null;
  #bound = null;

  /** `jump(step)` is called where the bar of a step is chosen. */
  constructor(root, jump) {
    this.root = root;
    this.outputs = PARTS.map((name) => root.querySelector(`#${name}`));
    this.scale = root.querySelector(".scale");
    this.usual = root.querySelector(".usual");
    this.bars = root.querySelector(".bars");
    this.bars.addEventListener("click", ({ target }) => {
      const step = [...this.bars.children].indexOf(target.closest(".bar")) + 1;
      if (step) jump(step);
    });
  }

  open(model) {
    this.#model = model;
    this.#usual = this.#reference = null;
    this.usual.textContent = "";
    this.forget();
    this.#lane.ask((signal) => this.#learn(signal));
  }

  close() {
    this.#lane.cancel();
  }

  /** Shows no score. */
  forget() {
    this.#bound = null;
    for (const output of this.outputs) output.textContent = "–";
    this.bars.replaceChildren();
    this.bars.setAttribute("aria-label", "KL at each step");
    this.#compare();
  }

  /** Shows the answer to a `score` request of one image, in nats. */
  show(answer) {
    PARTS.forEach((name, place) => (this.outputs[place].textContent = answer[name][0].toFixed(1)));
    this.#bound = answer.nll_bound[0];
    this.#compare();
    const [steps] = answer.kl_per_step;
    const greatest = Math.max(...steps, 1e-3);
    this.bars.replaceChildren(...steps.map((kl, place) => {
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.title = `Step ${place + 1}: ${kl.toFixed(2)} nats`;
      const filled = document.createElement("span");
      filled.style.height = `${(100 * Math.max(kl, 0)) / greatest}%`;
      bar.append(filled);
      return bar;
    }));
    const told = steps.map((kl) => kl.toFixed(1)).join(", ");
    this.bars.setAttribute("aria-label", `KL at each of ${steps.length} steps, in nats: ${told}`);
    this.bars.dataset.greatest = `${greatest.toFixed(1)} nats`;
    this.bars.dataset.steps = `step 1 to ${steps.length}`;
  }

  /** Tells the bar of one step from the others. */
  mark(step) {
    [...this.bars.children].forEach((bar, place) => bar.classList.toggle("now", place === step - 1));
  }

  /** What is usual the model's reference says, or else, less well, the model's own drawings. */
  async #learn(signal) {
    const model = this.#model;
    try {
      this.#reference = await model.reference(signal);
    } catch {
      // An older server has none to give.
    }
    if (signal.aborted) return;
    if (this.#reference) {
      const { count, ranks, quantiles } = this.#reference;
      const at = (share) => between(share * (count + 1), ranks, quantiles);
      this.#usual = { least: at(0.025), most: at(0.975) };
      this.#compare();
      return;
    }
    const count = Math.min(40, Math.max(8, Math.floor(PIXELS / model.shape.reduce((a, b) => a * b))));
    const seed = Array.from({ length: count }, (_, place) => [0, place]);
    try {
      const { image } = await model.predict("sample", { seed }, signal);
      const given = model.binary ? drawn(image) : image;
      const { nll_bound: bounds } = await model.predict("score", { image: given, seed }, signal);
      this.#usual = { count, least: Math.min(...bounds), most: Math.max(...bounds) };
      this.#compare();
    } catch {
      // A server that takes fewer rows at a time is none that the reader need hear of: there is no range then.
    }
  }

  #compare() {
    this.scale.hidden = !this.#usual;
    if (!this.#usual) return;
    const { count, least, most } = this.#usual;
    const end = Math.max(1.5 * most, 1.1 * (this.#bound ?? 0));
    const share = (nats) => `${(100 * Math.max(nats, 0)) / end}%`;
    const [band, mark] = this.scale.children;
    Object.assign(band.style, { left: share(least), width: share(most - least) });
    mark.hidden = this.#bound === null;
    mark.style.left = share(this.#bound ?? 0);
    if (!this.#reference) {
      this.usual.textContent = `${count} of its own drawings get ${least.toFixed(0)} to ${most.toFixed(0)} nats.`;
      return;
    }
    const { count: images, ranks, quantiles } = this.#reference;
    const range = `95% of ${images.toLocaleString("en")} validation images get ${least.toFixed(0)} to ${most.toFixed(0)} nats`;
    if (this.#bound === null) {
      this.usual.textContent = `${range}.`;
      return;
    }
    const below = between(this.#bound, quantiles, ranks) / (images + 1);
    const p = Math.min(1, 2 * Math.min(below, 1 - below));
    const verdict = p > 0.05 ? "usual" : below > 0.5 ? "unusual: less likely than most" : "unusual: too likely";
    this.usual.textContent = `${range}. This one is at ${(100 * below).toFixed(1)}%: ${verdict}.`;
  }
}

/** Images of 0 and 1 with these means, the same ones each time. */
function drawn(images) {
  const next = random();
  return images.map((rows) => rows.map((row) => row.map(([mean]) => [Number(next() < mean)])));
}

/** Numbers in [0, 1), by Marsaglia's xorshift: this language's own generator takes no seed. */
function random() {
  let state = 2463534242;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** The value at x of the line through the points (xs, ys), and at either end its last value. */
function between(x, xs, ys) {
  const right = xs.findIndex((each) => each >= x);
  if (right === 0) return ys[0];
  if (right < 0) return ys[ys.length - 1];
  const share = (x - xs[right - 1]) / (xs[right] - xs[right - 1]);
  return ys[right - 1] + share * (ys[right] - ys[right - 1]);
}
