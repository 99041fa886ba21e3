// The configuration as it runs, and what became of the file. Secrets never leave the gateway.

import { get, post } from "../api.js";
import { confirm, news } from "../dialog.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { badge, button, facts, heading, time } from "../parts.js";
import { live } from "../poll.js";

const SECONDS = 5;
const TONES = { ok: "good", invalid: "bad", failed: "bad" };

export default function config(main) {
  const region = h("div");
  main.append(
    heading(
      t("page.config"),
      t("config.about"),
      button(t("config.reload"), () => ask(polled.refresh)),
    ),
    region,
  );
  const polled = live(
    region,
    SECONDS,
    (signal) => Promise.all([get("config", {}, signal), get("status", {}, signal)]),
    ([running, { config: loaded }]) =>
      h("div", null, state(loaded), h("div", { class: "config" }, parts(running).map(part))),
  );
  return polled.stop;
}

function ask(refresh) {
  confirm({
    title: t("reload.title"),
    text: t("reload.text"),
    action: t("config.reload"),
    work: async () => {
      try {
        await post("reload");
        news(t("reload.done"));
      } finally {
        // What is wrong with the file stands on the page.
        await refresh();
      }
    },
  });
}

/** What became of the file when it was last read. */
function state({
  outcome,
  trigger,
  at,
  loaded_at: since,
  restart_needed: restart = [],
  error,
  faults = [],
  warnings = [],
}) {
  return h(
    "div",
    null,
    facts([
      [
        t("config.outcome"),
        [badge(TONES[outcome], t(`outcome.${outcome}`)), " ", t(`trigger.${trigger}`), " ", time(at)],
      ],
      outcome !== "ok" && [t("config.since"), time(since)],
      restart.length > 0 && [t("config.restart"), restart.map((key) => badge("warn", key))],
      error && faults.length === 0 && [t("last_error"), h("span", { class: "error-text" }, error)],
    ]),
    findings(t("config.faults"), faults),
    findings(t("config.warnings"), warnings),
  );
}

function findings(title, rows) {
  if (rows.length === 0) return null;
  const one = ({ file, line, column, message, snippet, hint }) =>
    h(
      "li",
      { class: "finding" },
      h(
        "p",
        null,
        h("b", null, message),
        " ",
        h("span", { class: "code muted" }, [file, line, column].filter(Boolean).join(":")),
      ),
      snippet ? h("pre", { class: "text", tabindex: "0", "aria-label": message }, snippet) : null,
      hint ? h("p", { class: "muted" }, hint) : null,
    );
  return h(
    "section",
    { class: "section", "aria-label": title },
    h("h2", null, title),
    h("ul", null, rows.map(one)),
  );
}

/** Keys that hold something of their own, and before them those that are a line each. */
function parts(running) {
  const entries = Object.entries(running);
  const line = ([key, value]) => entry(key, value, 0).length === 1;
  return [
    [t("config.lines"), Object.fromEntries(entries.filter(line))],
    ...entries.filter((one) => !line(one)),
  ];
}

function part([name, value]) {
  return h(
    "details",
    { open: true, "data-key": name },
    h("summary", null, name),
    h("pre", { class: "text", tabindex: "0", "aria-label": name }, yaml(value, 0).join("\n")),
  );
}

/** Lines of YAML, as the file has them. */
function yaml(value, depth) {
  const pad = "  ".repeat(depth);
  if (Array.isArray(value)) {
    const nested = value.some((item) => item !== null && typeof item === "object");
    return nested
      ? value.flatMap((item) => listed(yaml(item, depth + 1), pad))
      : [`${pad}[${value.map(scalar).join(", ")}]`];
  }
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    return entries.length === 0 ? [`${pad}{}`] : entries.flatMap(([key, inner]) => entry(key, inner, depth));
  }
  return [pad + scalar(value)];
}

function listed(lines, pad) {
  const [first, ...rest] = lines;
  return [`${pad}- ${first.trimStart()}`, ...rest];
}

function entry(key, inner, depth) {
  const pad = "  ".repeat(depth);
  const lines = yaml(inner, depth + 1);
  const first = lines[0].trimStart();
  const flat = lines.length === 1 && (typeof inner !== "object" || inner === null || /^[[{]/.test(first));
  return flat ? [`${pad}${key}: ${first}`.trimEnd()] : [`${pad}${key}:`, ...lines];
}

function scalar(value) {
  if (value === null) return "";
  if (typeof value !== "string") return String(value);
  const plain =
    /^[\w./][\w ./@%+:*-]*$/u.test(value) &&
    !/^(true|false|null|yes|no|on|off|\d+(\.\d*)?)$/i.test(value) &&
    !value.includes(": ") &&
    !value.endsWith(":");
  return plain ? value : JSON.stringify(value);
}
