// Batches: what was sent, and what came back.

import { h } from "../dom.js";
import { count, percent } from "../format.js";
import { t, word } from "../i18n.js";
import { Listing } from "../listing.js";
import { badge, button, code, empty, facts, heading, link, meter, time } from "../parts.js";
import { filters } from "../filters.js";
import { live } from "../poll.js";
import { askMissing } from "./missing.js";

const SECONDS = 5;

export default function batches(main, { query }) {
  const region = h("div");
  main.append(
    heading(t("page.batches"), t("batches.about")),
    filters("batches", query, [{ name: "app", label: t("app") }]),
    region,
  );
  const listing = new Listing("batches", "batches", ({ call_sn: name }) => name, { app: query.get("app") });
  const polled = live(
    region,
    SECONDS,
    (signal) => listing.refresh(signal),
    () =>
      listing.rows.length === 0
        ? empty(t("batches.none"), t("batches.none.about"))
        : h(
            "div",
            null,
            h("div", { class: "cards" }, listing.rows.map(card)),
            listing.foot(() => polled.draw()),
          ),
  );
  return polled.stop;
}

function card(batch) {
  const whole = batch.accepted ?? batch.sent;
  const title = batch.call_sn_name || batch.task_name || batch.call_sn;
  const done = whole !== null && batch.returned >= whole;
  return h(
    "article",
    { class: `card ${batch.quiet ? "quiet" : ""}`, "data-key": batch.call_sn, "aria-label": title },
    h(
      "div",
      { class: "card-head" },
      h("h2", null, title),
      h(
        "div",
        { class: "badges" },
        badge("plain", batch.app),
        batch.quiet ? badge("warn", t("batches.quiet"), t("batches.quiet.about")) : null,
        done ? badge("good", t("batches.done")) : null,
      ),
    ),
    progress(batch, whole),
    facts([
      [t("batches.submitted"), batch.submitted_at ? time(batch.submitted_at) : t("batches.elsewhere")],
      [t("batches.sent"), numbers(batch.sent, batch.accepted)],
      [t("batches.connected"), batch.connected ? count(batch.connected) : "0"],
      [t("batches.last"), time(batch.last_record_at)],
      [
        t("task_id"),
        batch.task_id ? [code(batch.task_id), batch.task_name ? ` ${batch.task_name}` : ""] : code(null),
      ],
      [t("call_sn"), link(code(batch.call_sn), "events", null, { call_sn: batch.call_sn })],
    ]),
    !done && batch.submitted_at
      ? h(
          "div",
          { class: "row" },
          button(t("batches.missing"), () => askMissing(batch), {
            kind: "small",
            label: t("batches.missing.of", { name: title }),
          }),
        )
      : null,
    shares(t("batches.by_state"), batch.by_state, (state) => [
      word(`state.${state}`, t("batches.state")),
      " ",
      h("span", { class: "muted" }, state),
    ]),
    shares(t("batches.by_degree"), batch.by_degree, (degree) => degree),
  );
}

function progress({ returned }, whole) {
  if (!whole) return h("p", { class: "progress-words" }, t("batches.returned", { n: returned }));
  return h(
    "div",
    { class: "progress" },
    meter(returned, whole, { label: t("batches.progress"), tone: returned >= whole ? "good" : "" }),
    h(
      "p",
      { class: "progress-words" },
      h("b", null, percent(Math.min(1, returned / whole))),
      " ",
      t("batches.of", { n: returned, of: whole }),
    ),
  );
}

function numbers(sent, accepted) {
  if (sent === null && accepted === null) return "–";
  return t("batches.numbers", {
    sent: sent === null ? "–" : count(sent),
    accepted: accepted === null ? "–" : count(accepted),
  });
}

/** Counts by name, the largest first, each with its part of the whole. */
function shares(title, counts, words) {
  const rows = Object.entries(counts).sort(([, one], [, other]) => other - one);
  const sum = rows.reduce((total, [, n]) => total + n, 0);
  if (sum === 0) return null;
  return h(
    "div",
    { class: "shares" },
    h("h3", null, title),
    h(
      "ul",
      null,
      rows.map(([name, n]) =>
        h(
          "li",
          { "data-key": name },
          h("span", { class: "share-name" }, words(name)),
          meter(n, sum, { label: `${title} ${name}` }),
          h("span", { class: "share-count" }, count(n)),
        ),
      ),
    ),
  );
}
