/** The page without a server: the model lies in the page itself, and the browser computes it. */

import { Cards } from "../../serving/server/live_page/cards.js";
import { tell } from "../../serving/server/live_page/trouble.js";
import { OnnxModel } from "./onnx_model.js";

const find = (id) => document.getElementById(id);
const cards = new Cards((error, element) => tell(element, error));

document.title = "DRAW in the browser";
document.querySelector("h1").textContent = document.title;
find("about").textContent = "Loading the model…";

/** The bytes of an element of this page: base64 of what gzip has made of them. */
async function bytes(id) {
  const packed = await (await fetch(`data:;base64,${find(id).textContent.trim()}`)).blob();
  find(id).remove();
  return new Uint8Array(await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

try {
  const [task, reference] = ["task", "reference"].map((id) => JSON.parse(find(id).textContent));
  cards.open(await OnnxModel.open(task, reference, bytes));
} catch (error) {
  find("about").textContent = "";
  tell(find("trouble"), error);
}
