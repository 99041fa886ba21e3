// The gateway's API. Errors come as `Problem`s, in words.

import { t, word } from "./i18n.js";
import { forget, token } from "./session.js";

const DEADLINE_MS = 20_000;

/** Why a call came to nothing. Status 0: there was no answer. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** What happened, in the reader's language; the gateway's own words come after. */
  get title() {
    return word(`problem.${this.status}`, t("problem.other", { status: this.status }));
  }
}

/** Told when a token is wanted. */
export const gate = new EventTarget();

async function send(method, path, body, signal) {
  const headers = {};
  if (token()) headers.authorization = `Bearer ${token()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  try {
    return await fetch(new URL(path, document.baseURI), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      cache: "no-store",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, t(deadline.aborted ? "problem.slow" : "problem.unreachable"));
  }
}

async function answered(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  if (response.status === 401) {
    const had = token() !== null;
    forget();
    gate.dispatchEvent(new CustomEvent("closed", { detail: { had } }));
  }
  throw new Problem(response.status, told.detail ?? response.statusText);
}

/** Asks for JSON. Parameters without a value are left out. */
export async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  return (await answered("GET", `api/v1/${path}${query}`, undefined, signal)).json();
}

/** Asks for bytes. */
export async function bytesOf(path, signal) {
  return (await answered("GET", `api/v1/${path}`, undefined, signal)).arrayBuffer();
}

/** Has something done. */
export async function post(path, body = undefined) {
  return (await answered("POST", `api/v1/${path}`, body)).json();
}
