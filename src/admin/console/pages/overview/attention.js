// What somebody should look at: a line each, with how bad it is and where to go.

import { h } from "../../dom.js";
import { duration, percent, rate } from "../../format.js";
import { t } from "../../i18n.js";
import { link } from "../../parts.js";
import { full, OLD_SECONDS, SKEW_SECONDS } from "./figures.js";

/** The store is nearly full when this share of it is used. */
const FULL = 0.8;

export function attention(status, someUnknown) {
  const told = [...gateway(status), ...upstream(status), ...deliveries(status)];
  if (someUnknown) told.push(["warn", t("attention.unknown"), to("requests", { state: "unknown" })]);
  if (told.length === 0) {
    const dot = h("span", { class: "dot good", "aria-hidden": "true" });
    return h("p", { class: "all-well" }, dot, t("attention.none"));
  }
  const lines = told.map(([tone, text, where]) => h("li", { class: tone }, text, where));
  return h("ul", { class: "attention", "aria-label": t("attention") }, lines);
}

function to(page, query = {}) {
  return link(t(`page.${page}`), page, null, query);
}

function* gateway({ store, config = {} }) {
  if (store?.error) yield ["bad", t("attention.store", { why: store.error })];
  if (full(store) > FULL) yield ["warn", t("attention.full", { share: percent(full(store)) })];
  if (config.outcome && config.outcome !== "ok") yield ["bad", t("attention.config"), to("config")];
  const keys = (config.restart_needed ?? []).join(", ");
  if (keys) yield ["warn", t("attention.restart", { keys }), to("config")];
}

function* upstream({ upstreams = [], egress = {}, clock_skew_seconds: skew = 0, global = {}, limits = {} }) {
  for (const { url, healthy, dns_error: dns, open_circuits: open } of upstreams) {
    if (!healthy) yield ["bad", t("attention.upstream", { url })];
    else if (open.length) yield ["warn", t("attention.circuits", { url, addresses: open.join(", ") })];
    if (dns) yield ["warn", t("attention.dns", { url, why: dns })];
  }
  for (const { address, set_aside: aside } of egress.source_ips ?? []) {
    if (aside) yield ["warn", t("attention.source", { address })];
  }
  const time = duration(Math.abs(skew));
  if (Math.abs(skew) > SKEW_SECONDS) yield ["warn", t("attention.skew", { time })];
  const { configured_per_second: of, allowed_per_second: allowed } = global;
  if (allowed < of) yield ["warn", t("attention.short", { allowed: rate(allowed), of: rate(of) }), to("apps")];
  if (limits.shared?.up === false) yield ["warn", t("attention.alone", { why: limits.shared.error ?? "–" }), to("apps")];
}

function* deliveries({ backlog = {}, batches = {} }) {
  const { oldest_age_seconds: oldest, dead_letters: dead } = backlog;
  if (oldest > OLD_SECONDS) yield ["warn", t("attention.old", { time: duration(oldest) }), to("subscribers")];
  if (dead > 0) yield ["warn", t("attention.dead", { n: dead }), to("dead-letters")];
  if (batches.quiet > 0) yield ["warn", t("attention.quiet", { n: batches.quiet }), to("batches")];
}
