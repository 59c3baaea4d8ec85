/**
 * The shop's service over HTTP: one method per question, and every way it can fail as an `ApiProblem` with advice.
 */

const PATIENCE_MS = 10_000;

const ADVICE = {
  offline: ["You are offline", "Check the connection. This part loads by itself once you are back."],
  unreachable: ["The shop's service cannot be reached", "It may be starting or stopped, or the connection is down. Try again in a moment."],
  timeout: ["The service took too long to answer", "It may be busy. Try again in a moment."],
  unauthorised: ["The shop's key is missing or was not accepted", "Put a key of scope “shop” into data/config.json (recsys keys create) and reload this page."],
  forbidden: ["The shop's key was refused", "It may be revoked, expired or of another scope. Put a key of scope “shop” into data/config.json (recsys keys create) and reload this page."],
  missing: ["The service does not know this", "It may have left the shop. Go back, or look at something similar."],
  refused: ["The service refused the question", "Trying again will not help; the details below say why."],
  busy: ["Too many requests at once", "Wait a few seconds, then try again."],
  server: ["The service has a problem", "It is not your doing. Try again in a moment."],
  unreadable: ["The answer could not be read", "Something between the shop and its service changed it. Try again, or check the api address in data/config.json."],
};

/** A failed call: `kind` (a key of the advice above), `title`, `advice`, `status`, `details` and `requestId` where known. */
export class ApiProblem extends Error {
  constructor(kind, { status = null, details = "", requestId = null, field = null } = {}) {
    super(`${ADVICE[kind][0]}${details ? `: ${details}` : ""}`);
    this.name = "ApiProblem";
    [this.title, this.advice] = ADVICE[kind];
    Object.assign(this, { kind, status, details, requestId, field });
  }
}

function kindOf(status) {
  if (status === 401) return "unauthorised";
  if (status === 403) return "forbidden";
  if (status === 404) return "missing";
  if (status === 408 || status === 504) return "timeout";
  if (status === 429) return "busy";
  return status >= 500 ? "server" : "refused";
}

async function problemOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    body = null; // A proxy's error page is no JSON; the status says enough.
  }
  const error = body?.error ?? {};
  const details = error.message ?? body?.message ?? "";
  return new ApiProblem(kindOf(response.status), {
    status: response.status,
    details: `${details}`.slice(0, 300),
    field: error.field ?? null,
    requestId: body?.request_id ?? response.headers.get("x-request-id") ?? null,
  });
}

/** GET a JSON file of the shop itself (config, catalogue, shoppers). Raises `ApiProblem`. */
export async function readJson(address) {
  return (await call(address, { cache: "no-cache" })).answer;
}

async function call(address, options) {
  const started = performance.now();
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  try {
    const response = await fetch(address, { ...options, signal: patience.signal, credentials: "omit" });
    if (!response.ok) throw await problemOf(response);
    const answer = await response.json();
    return { answer, roundTripMs: performance.now() - started };
  } catch (failure) {
    if (failure instanceof ApiProblem) throw failure;
    if (failure instanceof SyntaxError) throw new ApiProblem("unreadable");
    if (patience.signal.aborted) throw new ApiProblem("timeout");
    throw new ApiProblem(navigator.onLine ? "unreachable" : "offline");
  } finally {
    clearTimeout(timer);
  }
}

/** The service's routes. Every method resolves to `{answer, roundTripMs}` and rejects with `ApiProblem`. */
export class Api {
  /** `config`: {api: address without a slash at its end, "" for the page's own; key}. */
  constructor(config) {
    this.address = `${config.api ?? ""}`.replace(/\/+$/, "");
    this.key = `${config.key ?? ""}`;
  }

  #send(path, options = {}) {
    return call(`${this.address}${path}`, { ...options, headers: { "x-api-key": this.key, ...options.headers } });
  }

  #post(path, body, options = {}) {
    return this.#send(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), ...options });
  }

  recommend(question) {
    return this.#post("/recommend", question);
  }

  similar(productId, k) {
    return this.#send(`/similar/${encodeURIComponent(productId)}?k=${k}`);
  }

  popular(category, k) {
    const about = category ? `category=${encodeURIComponent(category)}&` : "";
    return this.#send(`/popular?${about}k=${k}`);
  }

  /** `keepalive`: the browser finishes sending even when the page is left. */
  feedback(events) {
    return this.#post("/feedback", { events }, { keepalive: true });
  }
}
