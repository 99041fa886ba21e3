// What is shown stays fresh: asked again after a while, never while the tab is hidden, ever more seldom while
// there is no answer. One question at a time.

import { Problem } from "./api.js";
import { show } from "./dom.js";
import { failure, loading } from "./parts.js";

const LAST_PAUSE_MS = 60_000;

/** Told how fresh the page is: `live`, `paused` or `stale`. */
export const freshness = new EventTarget();

function tell(state, problem = null) {
  freshness.dispatchEvent(new CustomEvent("change", { detail: { state, problem } }));
}

/**
 * Shows in `region` what `render(data)` makes of what `ask(signal, last)` answers, every so many seconds.
 */
export function live(region, seconds, ask, render) {
  const ended = new AbortController();
  let data = null;
  let timer = null;
  let asking = false;
  let failures = 0;

  function draw() {
    if (data !== null && !ended.signal.aborted) show(region, render(data));
  }

  async function once() {
    clearTimeout(timer);
    if (asking || ended.signal.aborted) return;
    asking = true;
    region.setAttribute("aria-busy", data === null);
    try {
      data = await ask(ended.signal, data);
      failures = 0;
      tell("live");
      draw();
    } catch (error) {
      if (ended.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      failures += 1;
      tell("stale", error);
      if (data === null) show(region, failure(error, refresh));
    } finally {
      asking = false;
      region.setAttribute("aria-busy", "false");
      next();
    }
  }

  function next() {
    clearTimeout(timer);
    if (ended.signal.aborted) return;
    if (document.hidden) tell("paused");
    else timer = setTimeout(once, Math.min(seconds * 1000 * 2 ** failures, LAST_PAUSE_MS));
  }

  async function refresh() {
    failures = 0;
    await once();
  }

  function seen() {
    if (document.hidden) next();
    else refresh();
  }

  document.addEventListener("visibilitychange", seen, { signal: ended.signal });
  show(region, loading());
  once();
  return {
    draw,
    refresh,
    stop: () => {
      ended.abort();
      clearTimeout(timer);
    },
  };
}
