/** The server's REST interface: the models that it has, what they take, and what they answer. */

const here = new URL(location.href).searchParams;

/** Where the API is: beside the folder of this page, or at the origin that the page's address names. */
const api = here.has("server") ? new URL("/v1/models/", here.get("server")) : new URL("../v1/models/", import.meta.url);

/** What a person is told: the server's own reason where it gives one. `status` is HTTP's, 0 where nothing answered. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * The versions that answer and the task of each, null where it is not known: {model: {version: task}}.
 *
 * TF Serving lists no models, so of it the one is asked that the page's address names.
 */
export async function listModels() {
  if (!here.has("server")) {
    try {
      return await ask(new URL("models.json", import.meta.url));
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  const name = here.get("model");
  if (!name) throw new ServerError("This server does not list its models: name one in the address, as ?model=digits.");
  const { model_version_status: versions } = await ask(new URL(encodeURIComponent(name), api));
  const available = versions.filter(({ state }) => state === "AVAILABLE");
  return { [name]: Object.fromEntries(available.map(({ version }) => [version, null])) };
}

/** One version of one model. All its answers are of that version, whatever the server loads meanwhile. */
export class Model {
  constructor(name, version, task, signatures) {
    this.name = name;
    this.version = version;
    this.title = task?.title ?? name;
    this.signatures = signatures;
    const shape = (signatures.reconstruct ?? signatures.score ?? signatures.classify)?.inputs.image.tensor_shape.dim;
    /** [rows, columns, channels] */
    this.shape = shape?.slice(1).map(({ size }) => Number(size));
    /** Whether pixels are 0 or 1. Where the task is not known they are so of a grey model, which takes them in any case. */
    this.binary = task ? task.binarisation !== "none" : this.shape?.[2] === 1;
    /** Filters along a side of a window; undefined where the task is not known. */
    this.read = task?.read ?? task?.attention?.read;
    this.write = task?.attention?.write;
    /** How pictures of any size become the model's: the task's own images, or as large as they fit. */
    this.preparation = task?.data?.resize ? { ...task.data } : {};
    /** The name of each class; none where they have numbers alone. */
    this.classNames = task?.data?.class_names ?? [];
  }

  /** Learns of the signatures. */
  static async open(name, version, task) {
    const { metadata } = await ask(address(name, version, "/metadata"));
    return new Model(name, version, task, metadata.signature_def.signature_def);
  }

  has(signature) {
    return signature in this.signatures;
  }

  /** What the bounds are on the validation split: quantiles and their ranks; null where nobody knows. */
  async reference(signal) {
    if (here.has("server")) return null;
    const address = new URL("reference.json", import.meta.url);
    address.searchParams.set("model", this.name);
    address.searchParams.set("version", this.version);
    return ask(address, { signal });
  }

  /** The outputs of a signature by name, each with a row for every row of the inputs. */
  async predict(signature, inputs, signal) {
    const body = JSON.stringify({ signature_name: signature, inputs });
    const url = address(this.name, this.version, ":predict");
    // Another origin gets none, because a browser would first ask it whether it takes JSON.
    const headers = url.origin === location.origin ? { "Content-Type": "application/json" } : {};
    const { outputs } = await ask(url, { method: "POST", headers, body, signal });
    const names = Object.keys(this.signatures[signature].outputs);
    return names.length === 1 ? { [names[0]]: outputs } : outputs;
  }
}

function address(name, version, call) {
  return new URL(`${encodeURIComponent(name)}/versions/${version}${call}`, api);
}

async function ask(url, request) {
  let response, text;
  try {
    response = await fetch(url, request);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const refused = " Either it is not running, or it does not answer pages of another origin: TF Serving does with "
      + "--rest_api_enable_cors_support.";
    throw new ServerError(`The server at ${url.origin} does not answer.${url.origin === location.origin ? "" : refused}`);
  }
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new ServerError(`${url.pathname} answers no JSON, with HTTP's status ${response.status}.`, response.status);
  }
  if (!response.ok) throw new ServerError(answer.error ?? `HTTP's status ${response.status}.`, response.status);
  return answer;
}
