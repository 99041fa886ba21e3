// The replicas that share the store.

import { h } from "../../dom.js";
import { count, milliseconds } from "../../format.js";
import { t } from "../../i18n.js";
import { badge, code, section, table } from "../../parts.js";

/** A replica that renews its seat no more loses it to another. */
const SILENT_MS = 4000;

/** Nothing, where one process has the store for itself. */
export function replicas({ cluster }) {
  if (!cluster) return null;
  const here = ({ name }) => name === cluster.replica;
  const columns = [
    {
      title: t("cluster.replica"),
      cell: (row) => [code(row.name), here(row) ? badge("plain", t("cluster.here")) : null],
    },
    { title: t("version"), cell: ({ version }) => version || "–" },
    { title: t("cluster.seat"), kind: "number", cell: ({ epoch }) => count(epoch) },
    {
      title: t("cluster.lease"),
      cell: ({ silent_for_ms: ms }) =>
        badge(ms > SILENT_MS ? "bad" : "good", t("cluster.silent", { time: milliseconds(ms) })),
    },
    { title: t("cluster.shards"), cell: ({ shards }) => shards.join(", ") || "–" },
    {
      title: t("cluster.ledger"),
      cell: (row) => (row.keeps_ledger ? badge("good", t("cluster.keeps")) : "–"),
    },
    { title: t("tile.in_flight"), kind: "number", cell: (row) => count(row.in_flight) },
    {
      title: t("cluster.waiting"),
      kind: "number",
      cell: ({ waiting_events: n }) => (n ? badge("warn", count(n)) : count(n)),
    },
    {
      title: t("egress.sources"),
      cell: (row) =>
        row.source_ips.map((address) => badge("plain", address === "any" ? t("egress.any") : address)),
    },
    { title: t("cluster.admin"), cell: ({ admin }) => code(admin) },
  ];
  return section(
    t("cluster"),
    cluster.error ? h("p", { class: "muted" }, t("cluster.unknown", { why: cluster.error })) : null,
    table(t("cluster"), columns, cluster.replicas, ({ epoch }) => epoch),
  );
}
