// How things stand, and the last hour.

import { get } from "../api.js";
import { h, show } from "../dom.js";
import { figure, milliseconds, rate } from "../format.js";
import { t } from "../i18n.js";
import { heading } from "../parts.js";
import { plot } from "../plot.js";
import { live } from "../poll.js";
import { attention } from "./overview/attention.js";
import { replicas } from "./overview/cluster.js";
import { errors, machine, tiles, upstreams } from "./overview/figures.js";

const SECONDS = 5;
/** The history is asked for so seldom: it has a sample each ten seconds. */
const EVERY = 2;
const KEPT = 360;

const ENDINGS = [
  ["ok", "ok"],
  ["business_error", "warn"],
  ["upstream_error", "bad"],
  ["rejected", "odd"],
  ["client_gone", "dim"],
];

export default function overview(main) {
  const plots = pictures();
  const top = h("div");
  const bottom = h("div");
  main.append(
    heading(t("page.overview"), t("overview.about")),
    top,
    h(
      "div",
      { class: "plots" },
      plots.map(({ root }) => root),
    ),
    bottom,
  );
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
      show(bottom, errors(kept.errors), upstreams(status), replicas(status), machine(status));
      return h("div", null, attention(status, kept.unknown), tiles(status, kept.samples));
    },
  );
  return polled.stop;
}

async function remember(kept, signal) {
  const last = kept.samples.at(-1)?.at;
  const [history, unknown] = await Promise.all([
    get("history", { since: last }, signal),
    get("requests", { state: "unknown", limit: 1 }, signal),
  ]);
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
      series: ENDINGS.map(([name, color]) => ({
        name: t(`ending.${name}`),
        color,
        of: perSecond((sample) => sample.requests[name]),
      })),
    }),
    plot({
      title: t("plot.latency"),
      format: milliseconds,
      series: [
        ["p50", "ok"],
        ["p95", "warn"],
        ["p99", "bad"],
      ].map(([name, color]) => ({ name, color, of: (sample) => sample.latency_ms[name] })),
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
