/** What a classifier takes an image for: a bar for each class. */

export class Probabilities {
  constructor(root) {
    this.verdict = root.querySelector(".verdict");
    this.list = root.querySelector(".probabilities");
  }

  /** Shows none. */
  open() {
    this.verdict.textContent = "Nothing is drawn yet.";
    this.list.replaceChildren();
  }

  /** Shows the probability of each class, and the label that the model chose; a class without a name has its number. */
  show(probabilities, label, names) {
    const percent = (share) => `${(100 * share).toFixed(1)}%`;
    this.verdict.textContent = `Taken for ${names[label] ?? label}, with ${percent(probabilities[label])}.`;
    this.list.replaceChildren(...probabilities.map((share, place) => {
      const item = document.createElement("li");
      item.classList.toggle("now", place === label);
      const [name, bar, filled, number] = ["span", "span", "span", "span"].map((tag) => document.createElement(tag));
      name.textContent = names[place] ?? place;
      bar.className = "track";
      filled.style.width = percent(share);
      number.textContent = percent(share);
      bar.append(filled);
      item.append(name, bar, number);
      return item;
    }));
  }
}
