/** Requests to the server: JSON, and events as they are written. Every failure is an ApiError. */

/** What went wrong, where, and how to mend it. */
export class ApiError extends Error {
  /** @param {{thing: string, place?: string, fix?: string}} said @param {number} [status] of HTTP */
  constructor({ thing, place = "", fix = "" }, status = 0) {
    super(thing);
    Object.assign(this, { thing, place, fix, status });
  }
}

const away = () => new ApiError({ thing: "the server does not answer", fix: "look whether `interp serve` still runs, then try again" });

/** @param {Response} response @returns {Promise<ApiError>} */
async function failure(response) {
  try {
    const { error, detail } = await response.json();
    if (error) return new ApiError(error, response.status);
    return new ApiError({ thing: typeof detail === "string" ? detail : `the server refused this (${response.status})` }, response.status);
  } catch {
    return new ApiError({ thing: `the server failed (${response.status})`, fix: "see what it printed" }, response.status);
  }
}

/** @param {unknown} cause @returns {boolean} whether a request was cancelled by the page itself */
export const wasCancelled = (cause) => cause instanceof DOMException && cause.name === "AbortError";

async function reached(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (cause) {
    throw wasCancelled(cause) ? cause : away();
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export const get = async (path, signal) => (await reached(path, { signal })).json();

/**
 * @param {string} path
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function post(path, body = {}, signal = undefined) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  return (await reached(path, options)).json();
}

/**
 * Reads server-sent events until `done`, whose data it gives.
 * @param {string} path
 * @param {Object<string, (data: any) => void>} handlers by the event's name
 * @param {AbortSignal} signal closing it cancels on the server
 * @param {object|null} [body] what is posted
 * @returns {Promise<any>}
 * @throws {ApiError} of a `failed` event, or if the connection ends early
 */
export async function events(path, handlers, signal, body = null) {
  const asked = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const response = await reached(path, { signal, ...asked });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (cause) {
      throw wasCancelled(cause) ? cause : away();
    }
    if (part.done) throw new ApiError({ thing: "the connection ended before the answer did", fix: "reload: what was written is kept" });
    const blocks = (rest + part.value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const { name, data } = parsed(block);
      if (data === null) continue;
      if (name === "failed") throw new ApiError(data.error ?? data);
      if (name === "done") return await reader.cancel(), data;
      handlers[name]?.(data);
    }
  }
}

function parsed(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return { name, data: data.length ? JSON.parse(data.join("\n")) : null };
}
