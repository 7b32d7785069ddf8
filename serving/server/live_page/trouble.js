/** What went wrong, where it went wrong. */

/** Tells it in an element, or hides the element where nothing is wrong. A request that was given up is no trouble. */
export function tell(element, error = null) {
  if (error?.name === "AbortError") return;
  element.hidden = !error;
  element.textContent = error ? error.message : "";
  if (error && error.status === undefined) console.error(error);
}
