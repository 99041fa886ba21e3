// Requests that must not be sent twice, and those of them of which nobody knows what came of them.

import { post } from "../api.js";
import { confirm, news } from "../dialog.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { Listing } from "../listing.js";
import { badge, button, code, empty, heading, table, time } from "../parts.js";
import { filters } from "../filters.js";
import { live } from "../poll.js";

const SECONDS = 5;
const STATES = ["unknown", "under_way", "done"];
const TONES = { unknown: "bad", under_way: "odd", done: "good" };

export default function requests(main, { query }) {
  const region = h("div");
  main.append(
    heading(t("page.requests"), t("requests.about")),
    filters("requests", query, [
      {
        name: "state",
        label: t("state"),
        kind: "choice",
        options: [["", t("any")], ...STATES.map((state) => [state, t(`request.${state}`)])],
      },
    ]),
    region,
  );
  const listing = new Listing("requests", "requests", ({ id }) => id, { state: query.get("state") });
  const polled = live(
    region,
    SECONDS,
    (signal) => listing.refresh(signal),
    () => {
      if (listing.rows.length === 0)
        return query.get("state") === "unknown"
          ? empty(t("requests.settled"), t("requests.settled.about"))
          : empty(t("requests.none"), t("requests.none.about"));
      return h(
        "div",
        null,
        list(listing.rows, polled.refresh),
        listing.foot(() => polled.draw()),
      );
    },
  );
  return polled.stop;
}

function list(rows, refresh) {
  const columns = [
    { title: t("requests.begun"), cell: (row) => time(row.begun_at) },
    {
      title: t("state"),
      cell: (row) => badge(TONES[row.state], t(`request.${row.state}`), t(`request.${row.state}.about`)),
    },
    { title: t("app"), cell: (row) => row.app },
    { title: t("endpoint"), cell: (row) => code(row.endpoint) },
    { title: t("task_id"), cell: (row) => code(row.task_id) },
    { title: t("requests.key"), kind: "words", cell: (row) => code(row.idempotency_key) },
    { title: t("requests.id"), kind: "words", cell: (row) => code(row.request_id) },
    { title: t("requests.ended"), cell: (row) => time(row.ended_at) },
    {
      title: t("actions"),
      kind: "actions",
      cell: (row) =>
        row.state === "unknown"
          ? button(t("requests.settle"), () => ask(row, refresh), {
              kind: "small",
              label: t("requests.settle.one", { id: row.request_id }),
            })
          : null,
    },
  ];
  return table(t("page.requests"), columns, rows, ({ id }) => id);
}

function ask(row, refresh) {
  const choice = (outcome) =>
    h(
      "label",
      { class: "choice" },
      h("input", { type: "radio", name: "outcome", value: outcome, required: true }),
      h(
        "span",
        null,
        h("b", null, t(`settle.${outcome}`)),
        h("span", { class: "muted" }, t(`settle.${outcome}.about`)),
      ),
    );
  confirm({
    title: t("settle.title"),
    text: t("settle.text", {
      endpoint: row.endpoint,
      app: row.app,
      time: new Date(row.begun_at).toLocaleString(),
    }),
    action: t("requests.settle"),
    fields: [
      h("fieldset", null, h("legend", null, t("settle.question")), choice("done"), choice("not_sent")),
    ],
    work: async (form) => {
      const { outcome } = await post(`requests/${encodeURIComponent(row.id)}/settle`, {
        outcome: form.get("outcome"),
      });
      news(t("settled", { outcome: t(`settle.${outcome}`) }));
      await refresh();
    },
  });
}
