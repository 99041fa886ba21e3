// How things stand, and the last hour.

import { get } from "../api.js";
import { h, show } from "../dom.js";
import { bytes, count, duration, figure, milliseconds, percent, rate } from "../format.js";
import { t, word } from "../i18n.js";
import { badge, code, empty, facts, heading, link, meter, section, table } from "../parts.js";
import { plot } from "../plot.js";
import { live } from "../poll.js";

const SECONDS = 5;
/** The history is asked for so seldom: it has a sample each ten seconds. */
const EVERY = 2;
const KEPT = 360;
/** The last minutes in samples, for figures that one sample is too short for. */
const RECENT = 30;
const OLD_SECONDS = 300;
const SKEW_SECONDS = 30;

const ENDINGS = [["ok", "ok"], ["business_error", "warn"], ["upstream_error", "bad"], ["rejected", "odd"], ["client_gone", "dim"]];

export default function overview(main) {
  const plots = pictures();
  const top = h("div");
  const bottom = h("div");
  main.append(heading(t("page.overview"), t("overview.about")), top, h("div", { class: "plots" }, plots.map(({ root }) => root)), bottom);
  const kept = { samples: [], errors: [], unknown: false, turn: 0 };
  const polled = live(
    top,
    SECONDS,
    async (signal) => {
      const status = await get("status", {}, signal);
      if (kept.turn % EVERY === 0) await remember(kept, signal);
      kept.turn += 1;
      return status;
    },
    (status) => {
      plots.forEach(({ update }) => update(kept.samples));
      show(bottom, errors(kept.errors), upstreams(status), machine(status));
      return h("div", null, attention(status, kept), tiles(status, kept.samples));
    },
  );
  return polled.stop;
}

async function remember(kept, signal) {
  const last = kept.samples.at(-1)?.at;
  const [history, unknown] = await Promise.all([get("history", { since: last }, signal), get("requests", { state: "unknown", limit: 1 }, signal)]);
  const fresh = history.samples.filter(({ at }) => at !== last);
  kept.samples = [...kept.samples, ...fresh].slice(-KEPT);
  kept.errors = history.errors;
  kept.unknown = unknown.requests.length > 0;
}

function pictures() {
  const perSecond = (of) => (sample) => of(sample) / sample.seconds;
  return [
    plot({
      title: t("plot.requests"),
      stacked: true,
      format: rate,
      series: ENDINGS.map(([name, color]) => ({ name: t(`ending.${name}`), color, of: perSecond((sample) => sample.requests[name]) })),
    }),
    plot({
      title: t("plot.latency"),
      format: milliseconds,
      series: [["p50", "ok"], ["p95", "warn"], ["p99", "bad"]].map(([name, color]) => ({ name, color, of: (sample) => sample.latency_ms[name] })),
    }),
    plot({
      title: t("plot.callbacks"),
      format: rate,
      series: [
        { name: t("plot.callbacks.in"), color: "ok", of: perSecond((sample) => sample.callbacks) },
        { name: t("plot.delivered"), color: "good", of: perSecond((sample) => sample.delivered) },
        { name: t("plot.failed"), color: "bad", of: perSecond((sample) => sample.failed) },
      ],
    }),
    plot({
      title: t("plot.backlog"),
      format: figure,
      series: [
        { name: t("backlog"), color: "ok", of: (sample) => sample.backlog },
        { name: t("page.dead-letters"), color: "bad", of: (sample) => sample.dead_letters },
      ],
    }),
  ];
}

/** What somebody should look at. */
function attention(status, kept) {
  const told = [];
  const say = (tone, text, to = null) => told.push(h("li", { class: tone }, text, to));
  if (status.store?.error) say("bad", t("attention.store", { why: status.store.error }));
  if (status.config?.outcome && status.config.outcome !== "ok") say("bad", t("attention.config"), link(t("page.config"), "config"));
  if (status.config?.restart_needed?.length) say("warn", t("attention.restart", { keys: status.config.restart_needed.join(", ") }), link(t("page.config"), "config"));
  for (const { url, healthy, dns_error: dns, open_circuits: open } of status.upstreams ?? []) {
    if (!healthy) say("bad", t("attention.upstream", { url }));
    else if (open.length) say("warn", t("attention.circuits", { url, addresses: open.join(", ") }));
    if (dns) say("warn", t("attention.dns", { url, why: dns }));
  }
  for (const { address, set_aside: aside } of status.egress?.source_ips ?? []) if (aside) say("warn", t("attention.source", { address }));
  if (Math.abs(status.clock_skew_seconds ?? 0) > SKEW_SECONDS) say("warn", t("attention.skew", { time: duration(Math.abs(status.clock_skew_seconds)) }));
  const { configured_per_second: configured, allowed_per_second: allowed } = status.global ?? {};
  if (allowed < configured) say("warn", t("attention.short", { allowed: rate(allowed), of: rate(configured) }), link(t("page.apps"), "apps"));
  if (full(status.store) > 0.8) say("warn", t("attention.full", { share: percent(full(status.store)) }));
  if (status.backlog?.oldest_age_seconds > OLD_SECONDS) say("warn", t("attention.old", { time: duration(status.backlog.oldest_age_seconds) }), link(t("page.subscribers"), "subscribers"));
  if (status.backlog?.dead_letters > 0) say("warn", t("attention.dead", { n: status.backlog.dead_letters }), link(t("page.dead-letters"), "dead-letters"));
  if (status.batches?.quiet > 0) say("warn", t("attention.quiet", { n: status.batches.quiet }), link(t("page.batches"), "batches"));
  if (kept.unknown) say("warn", t("attention.unknown"), link(t("page.requests"), "requests", null, { state: "unknown" }));
  if (told.length === 0) return h("p", { class: "all-well" }, h("span", { class: "dot good", "aria-hidden": "true" }), t("attention.none"));
  return h("ul", { class: "attention", "aria-label": t("attention") }, told);
}

function full(store) {
  return store?.max_size_bytes ? store.size_bytes / store.max_size_bytes : 0;
}

function tiles(status, samples) {
  const recent = samples.slice(-RECENT);
  const sum = (of) => recent.reduce((total, sample) => total + of(sample), 0);
  const all = sum(({ requests }) => Object.values(requests).reduce((total, n) => total + n, 0));
  const wrong = sum(({ requests }) => requests.business_error + requests.upstream_error + requests.rejected);
  const seconds = sum((sample) => sample.seconds);
  const latency = recent.findLast((sample) => sample.latency_ms.p99 !== null)?.latency_ms;
  const backlog = status.backlog ?? {};
  return h(
    "dl",
    { class: "tiles" },
    tile(t("tile.requests"), seconds ? rate(all / seconds) : "–", t("tile.recent")),
    tile(t("tile.errors"), all ? percent(wrong / all) : "–", t("tile.of", { n: wrong, of: all }), wrong ? "warn" : ""),
    tile(t("tile.latency"), latency ? milliseconds(latency.p99) : "–", latency ? t("tile.median", { time: milliseconds(latency.p50) }) : t("tile.idle")),
    tile(t("tile.in_flight"), count(status.in_flight ?? 0), t("tile.now")),
    tile(t("backlog"), count(backlog.events ?? 0), backlog.events ? t("tile.oldest", { time: duration(backlog.oldest_age_seconds) }) : t("tile.caught_up"), backlog.oldest_age_seconds > OLD_SECONDS ? "warn" : ""),
    tile(t("page.dead-letters"), count(backlog.dead_letters ?? 0), t("tile.retrying", { n: backlog.retrying ?? 0 }), backlog.dead_letters ? "warn" : ""),
    tile(t("tile.skew"), `${figure(status.clock_skew_seconds ?? 0)} s`, t("tile.skew.about"), Math.abs(status.clock_skew_seconds ?? 0) > SKEW_SECONDS ? "warn" : ""),
  );
}

function tile(label, value, hint, tone = "") {
  return h("div", { class: `tile ${tone}` }, h("dt", null, label), h("dd", null, h("span", { class: "tile-value" }, value), h("span", { class: "tile-hint" }, hint)));
}

function errors(rows) {
  const columns = [
    { title: t("endpoint"), cell: (row) => code(row.endpoint) },
    { title: t("errors.kind"), cell: (row) => badge({ business_error: "warn", upstream_error: "bad", rejected: "odd" }[row.outcome] ?? "dim", t(`ending.${row.outcome}`)) },
    { title: t("errors.code"), cell: (row) => [code(row.code), " ", h("span", { class: "muted" }, word(`reason.${row.code}`, ""))] },
    { title: t("count"), kind: "number", cell: (row) => count(row.count) },
  ];
  const content = rows.length ? table(t("errors.title"), columns, rows, (row) => `${row.endpoint} ${row.outcome} ${row.code}`) : empty(t("errors.none"), t("errors.none.about"));
  return section(t("errors.title"), content);
}

function upstreams({ upstreams: rows = [], egress = {} }) {
  const columns = [
    { title: t("upstream.url"), cell: ({ url }) => code(url) },
    { title: t("state"), cell: ({ healthy }) => badge(healthy ? "good" : "bad", t(healthy ? "upstream.healthy" : "upstream.down")) },
    { title: t("upstream.addresses"), cell: ({ addresses, open_circuits: open }) => addresses.map((address) => badge(open.includes(address) ? "bad" : "plain", address, open.includes(address) ? t("upstream.open") : null)) },
    { title: "DNS", cell: ({ dns_error: why }) => why ?? t("upstream.dns.good") },
  ];
  const sources = egress.source_ips ?? [];
  return section(
    t("upstream.title"),
    table(t("upstream.title"), columns, rows.map((row, at) => ({ ...row, at })), ({ at }) => at),
    facts([
      [t("egress.sources"), sources.map(({ address, set_aside: aside }) => badge(aside ? "bad" : "plain", address === "any" ? t("egress.any") : address, aside ? t("egress.aside") : null))],
      [t("egress.allowed"), egress.allowed_ips?.length ? egress.allowed_ips.map((address) => badge("plain", address)) : t("egress.none")],
    ]),
  );
}

function machine({ version, uptime_seconds: uptime, store }) {
  const size = store?.max_size_bytes
    ? h("div", { class: "gauge" }, meter(store.size_bytes, store.max_size_bytes, { tone: full(store) > 0.8 ? "bad" : "", label: t("store") }), t("store.of", { size: bytes(store.size_bytes), max: bytes(store.max_size_bytes) }))
    : (store?.error ?? "–");
  return section(t("machine"), facts([[t("version"), version], [t("uptime"), duration(uptime)], [t("store"), size]]));
}
