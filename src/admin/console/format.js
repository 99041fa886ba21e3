// Figures for people.

import { t, tag } from "./i18n.js";

const cached = new Map();

function numbers(options) {
  const key = tag() + JSON.stringify(options);
  if (!cached.has(key)) cached.set(key, new Intl.NumberFormat(tag(), options));
  return cached.get(key);
}

export function count(value) {
  return numbers({ maximumFractionDigits: 0 }).format(value);
}

/** Three digits that count. */
export function figure(value) {
  if (value !== 0 && Math.abs(value) < 0.001) return numbers({ maximumSignificantDigits: 1 }).format(value);
  return numbers({
    maximumFractionDigits: Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2,
  }).format(value);
}

export function rate(perSecond) {
  return `${figure(perSecond)}/s`;
}

export function percent(share) {
  return numbers({ style: "percent", maximumFractionDigits: share > 0 && share < 0.1 ? 1 : 0 }).format(share);
}

export function milliseconds(value) {
  if (value === null) return "–";
  return value >= 1000 ? `${figure(value / 1000)} s` : `${figure(value)} ms`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 ? count(value) : figure(value)} ${units[at]}`;
}

/** A length of time, by its two largest units. */
export function duration(seconds) {
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ];
  let left = Math.round(seconds);
  const at = units.findIndex(([, size]) => left >= size);
  if (at < 0) return t("unit.s", { n: 0 });
  const parts = units.slice(at, at + 2).map(([name, size]) => {
    const n = Math.floor(left / size);
    left -= n * size;
    return n > 0 ? t(`unit.${name}`, { n }) : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** A time of day; with its date where that is not today's. */
export function clock(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  const date = today ? {} : { month: "2-digit", day: "2-digit" };
  return time.toLocaleString(tag(), {
    ...date,
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hour12: false,
  });
}

export function wholeTime(text) {
  return new Date(text).toLocaleString(tag(), { dateStyle: "medium", timeStyle: "long" });
}
