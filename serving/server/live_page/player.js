/** The steps of a drawing: a slider, and a button that moves it. */

const SECONDS = 2.4;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  #timer = 0;

  /** Fills an element of class `player`; `show(step)` is called with 1 to the number of steps. */
  constructor(root, show) {
    root.append(document.getElementById("player").content.cloneNode(true));
    this.root = root;
    this.show = show;
    this.button = root.querySelector(".play");
    this.slider = root.querySelector(".step");
    this.of = root.querySelector(".of");
    this.speed = root.querySelector(".speed");
    // A drawing that plays goes on at the new speed.
    this.speed.addEventListener("change", () => this.#timer && this.#run());
    this.button.addEventListener("click", () => (this.#timer ? this.stop() : this.play()));
    this.slider.addEventListener("input", () => {
      this.stop();
      this.#showStep();
    });
    this.open(1);
  }

  get step() {
    return this.slider.valueAsNumber;
  }

  /** Shows one step. */
  set step(step) {
    this.slider.value = step;
    this.#showStep();
  }

  /** Takes up another drawing of so many steps, and plays it where the reader has nothing against motion. */
  start(steps) {
    this.open(steps);
    if (calm.matches || steps === 1) this.step = steps;
    else this.play();
  }

  /** Waits for a drawing of so many steps. */
  open(steps) {
    this.stop();
    this.slider.max = steps;
    this.slider.value = steps;
    this.slider.disabled = this.button.disabled = this.speed.disabled = steps === 1;
    this.#tell();
  }

  /** From the first step to the last. */
  play() {
    this.step = 1;
    this.#run();
  }

  #run() {
    this.stop();
    this.button.textContent = "Pause";
    const steps = Number(this.slider.max);
    this.#timer = setInterval(() => {
      this.step = this.step + 1;
      if (this.step >= steps) this.stop();
    }, Math.min(250, (1000 * SECONDS) / steps) / Number(this.speed.value));
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.button.textContent = "Play";
  }

  #showStep() {
    this.#tell();
    this.show(this.step);
  }

  #tell() {
    this.of.textContent = `${this.step} of ${this.slider.max}`;
    this.slider.setAttribute("aria-valuetext", `step ${this.of.textContent}`);
  }
}
