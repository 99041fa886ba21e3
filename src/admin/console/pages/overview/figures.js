// How things stand, in figures and tables.

import { h } from "../../dom.js";
import { bytes, count, duration, figure, milliseconds, percent, rate } from "../../format.js";
import { t, word } from "../../i18n.js";
import { badge, code, empty, facts, meter, section, table } from "../../parts.js";

/** The last minutes in samples, for figures that one sample is too short for. */
const RECENT = 30;
/** A delivery that waits for longer is told of. */
export const OLD_SECONDS = 300;
/** Past it requests are signed by the SaaS's clock. */
export const SKEW_SECONDS = 30;

/** How much of the store is used. */
export function full(store) {
  return store?.max_size_bytes ? store.size_bytes / store.max_size_bytes : 0;
}

export function tiles(status, samples) {
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
    tile(
      t("tile.errors"),
      all ? percent(wrong / all) : "–",
      t("tile.of", { n: wrong, of: all }),
      wrong ? "warn" : "",
    ),
    tile(
      t("tile.latency"),
      latency ? milliseconds(latency.p99) : "–",
      latency ? t("tile.median", { time: milliseconds(latency.p50) }) : t("tile.idle"),
    ),
    tile(t("tile.in_flight"), count(status.in_flight ?? 0), t("tile.now")),
    tile(
      t("backlog"),
      count(backlog.events ?? 0),
      backlog.events ? t("tile.oldest", { time: duration(backlog.oldest_age_seconds) }) : t("tile.caught_up"),
      backlog.oldest_age_seconds > OLD_SECONDS ? "warn" : "",
    ),
    tile(
      t("page.dead-letters"),
      count(backlog.dead_letters ?? 0),
      t("tile.retrying", { n: backlog.retrying ?? 0 }),
      backlog.dead_letters ? "warn" : "",
    ),
    tile(
      t("tile.skew"),
      `${figure(status.clock_skew_seconds ?? 0)} s`,
      t("tile.skew.about"),
      Math.abs(status.clock_skew_seconds ?? 0) > SKEW_SECONDS ? "warn" : "",
    ),
  );
}

function tile(label, value, hint, tone = "") {
  return h(
    "div",
    { class: `tile ${tone}` },
    h("dt", null, label),
    h("dd", null, h("span", { class: "tile-value" }, value), h("span", { class: "tile-hint" }, hint)),
  );
}

export function errors(rows) {
  const columns = [
    { title: t("endpoint"), cell: (row) => code(row.endpoint) },
    {
      title: t("errors.kind"),
      cell: (row) =>
        badge(
          { business_error: "warn", upstream_error: "bad", rejected: "odd" }[row.outcome] ?? "dim",
          t(`ending.${row.outcome}`),
        ),
    },
    {
      title: t("errors.code"),
      cell: (row) => [code(row.code), " ", h("span", { class: "muted" }, word(`reason.${row.code}`, ""))],
    },
    { title: t("count"), kind: "number", cell: (row) => count(row.count) },
  ];
  const content = rows.length
    ? table(t("errors.title"), columns, rows, (row) => `${row.endpoint} ${row.outcome} ${row.code}`)
    : empty(t("errors.none"), t("errors.none.about"));
  return section(t("errors.title"), content);
}

export function upstreams({ upstreams: rows = [], egress = {} }) {
  const columns = [
    { title: t("upstream.url"), cell: ({ url }) => code(url) },
    {
      title: t("state"),
      cell: ({ healthy }) =>
        badge(healthy ? "good" : "bad", t(healthy ? "upstream.healthy" : "upstream.down")),
    },
    {
      title: t("upstream.addresses"),
      cell: ({ addresses, open_circuits: open }) =>
        addresses.map((address) =>
          badge(
            open.includes(address) ? "bad" : "plain",
            address,
            open.includes(address) ? t("upstream.open") : null,
          ),
        ),
    },
    { title: "DNS", cell: ({ dns_error: why }) => why ?? t("upstream.dns.good") },
  ];
  const sources = egress.source_ips ?? [];
  return section(
    t("upstream.title"),
    table(
      t("upstream.title"),
      columns,
      rows.map((row, at) => ({ ...row, at })),
      ({ at }) => at,
    ),
    facts([
      [
        t("egress.sources"),
        sources.map(({ address, set_aside: aside }) =>
          badge(
            aside ? "bad" : "plain",
            address === "any" ? t("egress.any") : address,
            aside ? t("egress.aside") : null,
          ),
        ),
      ],
      [
        t("egress.allowed"),
        egress.allowed_ips?.length
          ? egress.allowed_ips.map((address) => badge("plain", address))
          : t("egress.none"),
      ],
    ]),
  );
}

export function machine({ version, uptime_seconds: uptime, store }) {
  const size = store?.max_size_bytes
    ? h(
        "div",
        { class: "gauge" },
        meter(store.size_bytes, store.max_size_bytes, {
          tone: full(store) > 0.8 ? "bad" : "",
          label: t("store"),
        }),
        t("store.of", { size: bytes(store.size_bytes), max: bytes(store.max_size_bytes) }),
      )
    : (store?.error ?? "–");
  return section(
    t("machine"),
    facts([
      [t("version"), version],
      [t("uptime"), duration(uptime)],
      [t("store"), size],
    ]),
  );
}
