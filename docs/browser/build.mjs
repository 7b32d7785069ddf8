/**
 * Builds the page: `node docs/browser/build.mjs MODELS NODE_MODULES ONNXRUNTIME OUTPUT`, which are folders.
 *
 * MODELS is what `draw export` wrote, and ONNXRUNTIME the Python package, which carries the runtime's licences. One file holds everything, for a page that is opened as a file may load no other.
 */

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const [models, modules, notices, output] = process.argv.slice(2).map((name) => path.resolve(name));
const here = path.dirname(fileURLToPath(import.meta.url));
const shared = path.join(here, "../../serving/server/live_page");

const text = (file) => readFile(file, "utf8");
const json = async (file) => JSON.parse(await text(path.join(models, file)));
const inPage = (value) => JSON.stringify(value).replaceAll("<", "\\u003c");
const packed = async (file) => gzipSync(await readFile(file), { level: 9 }).toString("base64");
const data = (id, content) => `<script type="text/plain" id="${id}">${content}</script>`;

const task = await json("task.json");
if ("classes" in task) {
  console.error(`${task.title} is a classifier, and the page draws: give a generative model.`);
  process.exit(1);
}
const { build } = await import(pathToFileURL(path.join(modules, "esbuild/lib/main.js")));

const bundled = await build({
  entryPoints: [path.join(here, "browser_page.js")],
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: "es2022",
  platform: "browser",
  conditions: ["import"],
  nodePaths: [modules],
  // The runtime's own code asks for them where it runs in Node alone.
  external: ["module", "node:*", "fs", "fs/promises", "path", "url", "worker_threads", "perf_hooks", "vm"],
  legalComments: "none",
});
// A tag that ends a script may not stand in one.
const script = bundled.outputFiles[0].text.replaceAll("</script", "<\\/script");
const runtime = path.join(modules, "onnxruntime-web");
const { version } = JSON.parse(await text(path.join(runtime, "package.json")));
const licences = [
  `DRAW-TFX\n\n${await text(path.join(here, "../../LICENSE"))}`,
  `onnxruntime-web ${version} (https://github.com/microsoft/onnxruntime)\n\n${await text(path.join(notices, "LICENSE"))}`,
  await text(path.join(notices, "ThirdPartyNotices.txt")),
];

const icon = Buffer.from(await text(path.join(shared, "icon.svg"))).toString("base64");
const replaced = {
  '<link rel="icon" type="image/svg+xml" href="icon.svg" />': `<link rel="icon" href="data:image/svg+xml;base64,${icon}" />`,
  '<link rel="stylesheet" href="style.css" />': `<style>${await text(path.join(shared, "style.css"))}</style>`,
  '<script type="module" src="app.js"></script>': "",
  "</body>": [
    data("task", inPage(task)),
    // Of the bounds alone; a model may have none.
    data("reference", inPage(await json("reference.json").then(({ scores }) => scores.nll_bound, () => null))),
    data("decode_sequence", await packed(path.join(models, "decode_sequence.onnx"))),
    data("encode", await packed(path.join(models, "encode.onnx"))),
    data("runtime", await packed(path.join(runtime, "dist/ort-wasm-simd-threaded.wasm"))),
    `<script type="module">${script}</script>`,
    "</body>",
  ].join("\n"),
};
let page = await text(path.join(shared, "index.html"));
for (const [old, current] of Object.entries(replaced)) {
  if (page.split(old).length !== 2) throw new Error(`index.html must hold ${old} once.`);
  page = page.split(old).join(current);
}
await mkdir(output, { recursive: true });
await writeFile(path.join(output, "index.html"), page);
await writeFile(path.join(output, "LICENSES.txt"), licences.join(`\n${"=".repeat(80)}\n\n`));
console.log(`${path.join(output, "index.html")}  ${(page.length / 1e6).toFixed(1)} MB`);
