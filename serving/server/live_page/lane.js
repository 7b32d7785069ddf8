/** Requests that overtake each other: one under way, and of those that wait only the newest. */

/**
 * A request under way is let finish, for a server goes on computing what nobody waits for; those that were to follow
 * it are dropped when a newer one comes. So a slider that is dragged never makes the server's queue longer than one.
 */
export class Lane {
  #waiting = null;
  #timer = 0;
  #abort = null;

  /** Runs `work(signal)` after so many quiet milliseconds, when the one before it has ended, unless a newer comes. */
  ask(work, quiet = 0) {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.#timer = setTimeout(() => {
      this.#waiting = work;
      this.#next();
    }, quiet);
  }

  /** Drops what waits, and stops listening to what is under way. */
  cancel() {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.#abort?.abort();
  }

  async #next() {
    if (this.#abort || !this.#waiting) return;
    const work = this.#waiting;
    this.#waiting = null;
    this.#abort = new AbortController();
    try {
      await work(this.#abort.signal);
    } finally {
      this.#abort = null;
      this.#next();
    }
  }
}
