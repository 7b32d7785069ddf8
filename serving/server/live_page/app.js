/** The page: which model and version it shows, and what becomes of it when the server loads another. */

import { Cards } from "./cards.js";
import { Model, listModels } from "./server.js";
import { tell } from "./trouble.js";

const LOOK_EVERY = 5000;
const NEWEST = "newest";

const find = (id) => document.getElementById(id);
const [choice, models, versions, trouble] = ["choice", "model", "version", "trouble"].map(find);
const cards = new Cards(failed);

let listed = {};
let shown = null;
let looking = false;

/** Tells a person, after it has looked whether the version is gone that did not answer. */
async function failed(error, element) {
  if (error.status === 404 && (await look())) return;
  tell(element, error);
}

/** Asks which models there are, and shows another version where there is a newer. Whether it did. */
async function look() {
  if (looking) return false;
  looking = true;
  try {
    listed = await listModels();
    offer();
    return await show();
  } catch (error) {
    tell(trouble, error);
    return false;
  } finally {
    looking = false;
  }
}

/** Fills the pickers, and keeps what is picked where it is still there. */
function offer() {
  const asked = new URL(location.href).searchParams;
  refill(models, Object.keys(listed).sort().map((name) => [name, name]), models.value || asked.get("model"));
  const found = numbers(models.value);
  const options = [[NEWEST, found.length ? `newest (${found[0]})` : NEWEST], ...found.map((number) => [number, number])];
  refill(versions, options, versions.value || asked.get("version"));
  choice.hidden = !Object.keys(listed).length;
}

function refill(select, options, picked) {
  const same = String([...select.options].map((option) => [option.value, option.text])) === String(options);
  // An open list must not close because the server was asked.
  if (same) return;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === picked)) select.value = picked;
}

/** The model's versions, the newest first. They may have more digits than a number of this language. */
function numbers(name) {
  return Object.keys(listed[name] ?? {}).sort((a, b) => (BigInt(b) > BigInt(a) ? 1 : -1));
}

async function show() {
  const name = models.value;
  const version = versions.value === NEWEST ? numbers(name)[0] : versions.value;
  if (!version) {
    close();
    const nothing = name ? `No version of the model ${name} answers yet.` : "This server has no model.";
    tell(trouble, Object.assign(new Error(nothing), { status: 0 }));
    return false;
  }
  if (shown?.name === name && shown.version === version) {
    tell(trouble);
    return false;
  }
  const model = await Model.open(name, version, listed[name][version]);
  // Picked meanwhile.
  if (models.value !== name) return show();
  close();
  tell(trouble);
  if (!model.shape) throw Object.assign(new Error(`The model ${name} takes no images: this page is for DRAW.`), { status: 0 });
  shown = model;
  cards.open(model);
  return true;
}

function close() {
  cards.close();
  shown = null;
}

models.addEventListener("change", () => {
  versions.replaceChildren();
  pick();
});
versions.addEventListener("change", pick);

/** Shows what was picked, and has the address say so. */
async function pick() {
  offer();
  const address = new URL(location.href);
  address.searchParams.set("model", models.value);
  if (versions.value === NEWEST) address.searchParams.delete("version");
  else address.searchParams.set("version", versions.value);
  history.replaceState(null, "", address);
  // At once: what is drawn or loaded until the picked one is known would be prepared for the one before.
  close();
  try {
    await show();
  } catch (error) {
    tell(trouble, error);
  }
}

look();
setInterval(() => document.hidden || look(), LOOK_EVERY);
