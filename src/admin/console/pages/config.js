// The configuration as it runs. Its secrets never leave the gateway.

import { get } from "../api.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { heading } from "../parts.js";
import { live } from "../poll.js";

const SECONDS = 30;

export default function config(main) {
  const region = h("div");
  main.append(heading(t("page.config"), t("config.about")), region);
  const polled = live(region, SECONDS, (signal) => get("config", {}, signal), (running) => h("div", { class: "config" }, parts(running).map(part)));
  return polled.stop;
}

/** Keys that hold something of their own, and before them those that are a line each. */
function parts(running) {
  const entries = Object.entries(running);
  const line = ([key, value]) => entry(key, value, 0).length === 1;
  return [[t("config.lines"), Object.fromEntries(entries.filter(line))], ...entries.filter((one) => !line(one))];
}

function part([name, value]) {
  return h("details", { open: true, "data-key": name }, h("summary", null, name), h("pre", { class: "text", tabindex: "0", "aria-label": name }, yaml(value, 0).join("\n")));
}

/** Lines of YAML, as the file has them. */
function yaml(value, depth) {
  const pad = "  ".repeat(depth);
  if (Array.isArray(value)) {
    const nested = value.some((item) => item !== null && typeof item === "object");
    return nested ? value.flatMap((item) => listed(yaml(item, depth + 1), pad)) : [`${pad}[${value.map(scalar).join(", ")}]`];
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
  const plain = /^[\w./][\w ./@%+:*-]*$/u.test(value) && !/^(true|false|null|yes|no|on|off|\d+(\.\d*)?)$/i.test(value) && !value.includes(": ") && !value.endsWith(":");
  return plain ? value : JSON.stringify(value);
}
