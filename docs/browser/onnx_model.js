/** A generative model in the browser, with the methods of one on a server: what `draw export` wrote, in ONNX Runtime. */

import * as ort from "onnxruntime-web/wasm";

import { seedNoise } from "../../serving/server/live_page/noise.js";

/** So many rows are computed at once: between them the page answers whoever uses it. */
const ROWS = 4;

export class OnnxModel {
  #sessions;
  #busy = Promise.resolve();

  #reference;

  constructor(task, sessions, reference) {
    const { attention, glimpses: steps, latent_size: latents, image_shape: shape } = task;
    this.#sessions = sessions;
    this.#reference = reference;
    this.title = task.title;
    this.shape = shape;
    this.binary = task.binarisation !== "none";
    this.write = attention.write;
    this.preparation = task.data.resize ? { ...task.data } : {};
    this.latentShape = [steps, latents];
    const dimensions = (...sizes) => ({ tensor_shape: { dim: sizes.map((size) => ({ size })) } });
    const window = attention === "none" ? {} : { write_window: dimensions(-1, steps, 5) };
    const image = dimensions(-1, ...shape);
    const canvas = { canvas: dimensions(-1, steps, ...shape), ...window };
    const z = dimensions(-1, steps, latents);
    /** As a server's metadata have them. */
    this.signatures = {
      sample: { outputs: { image } },
      sample_sequence: { outputs: canvas },
      score: { inputs: { image }, outputs: {} },
      reconstruct: { inputs: { image }, outputs: { image, ...canvas } },
      decode: { inputs: { z }, outputs: { image } },
      encode: { inputs: { image, eps: z }, outputs: { z } },
    };
  }

  /**
   * Starts the runtime and the decoder; the encoder follows when it is asked for. `bytes(id)` gives a file; `reference`
   * is of the bounds, null where the model has none.
   */
  static async open(task, reference, bytes) {
    // One thread, for more need headers that a file and most static hosts do not send.
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: (await bytes("runtime")).buffer });
    const started = {};
    const session = (name) => (started[name] ??= bytes(name).then((file) => ort.InferenceSession.create(file)));
    await session("decode_sequence");
    return new OnnxModel(task, session, reference);
  }

  reference() {
    return this.#reference;
  }

  has(signature) {
    return signature in this.signatures;
  }

  /** The outputs of a signature by name, each with a row for every row of the inputs. */
  async predict(signature, inputs, signal) {
    const given = { ...inputs };
    if (given.seed) {
      const noise = given.seed.map((seed) => seedNoise(seed, ...this.latentShape));
      given[given.image ? "eps" : "z"] = noise;
    }
    if (!given.image) return this.#decoded(given.z, signal);
    const encoded = await this.#run("encode", { image: given.image, eps: given.eps }, signal);
    if (signature === "encode") return encoded;
    if (signature === "reconstruct") return this.#decoded(encoded.z, signal);
    const { nll_bound, kl_per_step } = encoded;
    const kl = kl_per_step.map((steps) => steps.reduce((sum, nats) => sum + nats, 0));
    return { nll_bound, kl_per_step, kl, reconstruction: nll_bound.map((bound, row) => bound - kl[row]) };
  }

  async #decoded(z, signal) {
    const drawn = await this.#run("decode_sequence", { z }, signal);
    return { ...drawn, image: drawn.canvas.map((steps) => steps.at(-1)) };
  }

  /** Computes row after row, in turns with whatever else is asked for. */
  async #run(name, inputs, signal) {
    const [[, { length }]] = Object.entries(inputs);
    const parts = [];
    for (let first = 0; first < length; first += ROWS) {
      const rows = Object.entries(inputs).map(([key, value]) => [key, tensor(value.slice(first, first + ROWS))]);
      const turn = this.#busy.then(async () => {
        signal?.throwIfAborted();
        // A timer lets the page draw what came before.
        await new Promise((done) => setTimeout(done));
        return (await this.#sessions(name)).run(Object.fromEntries(rows));
      });
      this.#busy = turn.catch(() => {});
      parts.push(await turn);
    }
    const names = Object.keys(parts[0]);
    return Object.fromEntries(names.map((key) => [key, parts.flatMap((part) => nested(part[key]))]));
  }
}

/** Lists in lists as one array of numbers with its sizes. */
function tensor(value) {
  const sizes = [];
  for (let part = value; Array.isArray(part); [part] = part) sizes.push(part.length);
  return new ort.Tensor("float32", Float32Array.from(value.flat(Infinity)), sizes);
}

function nested({ data, dims }) {
  return dims.slice(1).reduceRight(
    (parts, size) => Array.from({ length: parts.length / size }, (_, place) => parts.slice(place * size, (place + 1) * size)),
    Array.from(data),
  );
}
