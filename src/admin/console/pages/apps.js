// Who may call, and how much of what they may is used.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, duration, rate } from "../format.js";
import { t } from "../i18n.js";
import { badge, code, empty, facts, heading, link, meter } from "../parts.js";
import { live } from "../poll.js";

const SECONDS = 3;

export default function apps(main) {
  const region = h("div");
  main.append(heading(t("page.apps"), t("apps.about")), region);
  let before = null;
  const polled = live(
    region,
    SECONDS,
    async (signal, last) => {
      const answer = await get("apps", {}, signal);
      before = last;
      return { ...answer, at: performance.now() };
    },
    (answer) =>
      answer.apps.length === 0
        ? empty(t("apps.none"), t("apps.none.about"))
        : h(
            "div",
            { class: "cards" },
            answer.apps.map((app) => card(app, answer, before)),
            all(answer.global, answer.shared),
          ),
  );
  return polled.stop;
}

function total(requests) {
  return Object.values(requests).reduce((sum, n) => sum + n, 0);
}

/** Requests a second between the last two answers. */
function pace(app, answer, before) {
  const known = before?.apps.find(({ name }) => name === app.name);
  if (!known) return "–";
  return rate(Math.max(0, total(app.requests) - total(known.requests)) / ((answer.at - before.at) / 1000));
}

function card(app, answer, before) {
  const { requests } = app;
  const any = app.endpoints.includes("*");
  return h(
    "article",
    { class: "card", "data-key": app.name, "aria-label": app.name },
    h(
      "div",
      { class: "card-head" },
      h("h2", null, app.name),
      h(
        "div",
        { class: "badges" },
        badge("plain", t(`checks.${app.checks}`)),
        app.token ? badge("plain", t("apps.token")) : null,
      ),
    ),
    h(
      "div",
      { class: "uses" },
      use(
        t("tile.in_flight"),
        app.in_flight,
        app.max_in_flight,
        t("apps.of", { n: app.in_flight, of: app.max_in_flight }),
      ),
      app.limits.map((limit) => limited(limit)),
    ),
    facts([
      [t("apps.pace"), pace(app, answer, before)],
      app.waiting > 0 && [t("apps.waiting"), count(app.waiting)],
      [
        t("apps.requests"),
        ["ok", "business_error", "upstream_error", "rejected", "client_gone"]
          .filter((name) => name === "ok" || requests[name] > 0)
          .map((name) =>
            h("span", { class: "pair" }, t(`ending.${name}`), " ", h("b", null, count(requests[name]))),
          ),
      ],
      app.rate_limited > 0 && [t("apps.limited"), count(app.rate_limited)],
      [t("apps.endpoints"), any ? t("apps.all") : app.endpoints.map((name) => badge("plain", name))],
      [t("apps.networks"), app.networks.map((network) => badge("plain", network))],
      [t("apps.tenants"), app.app_ids.length ? app.app_ids.map((id) => badge("plain", id)) : t("apps.any")],
      [t("apps.credential"), code(app.credential)],
      [t("apps.weight"), count(app.weight)],
      [t("page.events"), link(t("apps.events"), "events", null, { app: app.name })],
    ]),
  );
}

function use(label, value, whole, text, tone = strain(value, whole)) {
  return h(
    "div",
    { class: "use" },
    h("div", { class: "use-words" }, h("span", null, label), h("span", { class: "muted" }, text)),
    meter(value, whole, { label, tone }),
  );
}

function strain(value, whole) {
  const share = whole > 0 ? value / whole : 0;
  if (share >= 0.9) return "bad";
  return share >= 0.7 ? "warn" : "";
}

function limited(limit) {
  const used = limit.burst - limit.remaining;
  const scope = limit.endpoints.includes("*") ? t("apps.limit.all") : limit.endpoints.join(", ");
  const per = { 1: "s", 60: "m", 3600: "h" }[limit.per_seconds] ?? `${limit.per_seconds}s`;
  const words = [
    t("apps.left", { n: limit.remaining, of: limit.burst }),
    limit.reset_seconds > 0 ? t("apps.whole", { time: duration(limit.reset_seconds) }) : null,
    limit.max_wait_ms > 0 ? t("apps.wait", { time: `${count(limit.max_wait_ms)} ms` }) : null,
  ];
  return use(
    `${scope} · ${count(limit.limit)}/${per}`,
    used,
    limit.burst,
    words.filter(Boolean).join(t("comma")),
  );
}

function all({ configured_per_second: configured, allowed_per_second: allowed, waiting }, shared) {
  const short = allowed < configured;
  return h(
    "article",
    { class: "card", "data-key": "*", "aria-label": t("apps.global") },
    h(
      "div",
      { class: "card-head" },
      h("h2", null, t("apps.global")),
      short ? badge("warn", t("apps.short")) : null,
      shared ? badge(shared.up ? "good" : "bad", t(shared.up ? "apps.shared" : "apps.alone")) : null,
    ),
    h(
      "div",
      { class: "uses" },
      use(
        t("apps.allowed"),
        allowed,
        configured,
        t("apps.rates", { allowed: rate(allowed), of: rate(configured) }),
        short ? "warn" : "",
      ),
    ),
    facts([
      [t("apps.waiting"), count(waiting)],
      shared && [t("apps.redis"), code(shared.url)],
      shared?.error && [t("apps.redis.error"), shared.error],
      shared?.fallbacks > 0 && [t("apps.fallbacks"), count(shared.fallbacks)],
    ]),
  );
}
