// Words in the reader's language.

import english from "./i18n/en.js";
import chinese from "./i18n/zh.js";
import { language } from "./preferences.js";

const WORDS = { en: english, zh: chinese };
const TAGS = { en: "en-GB", zh: "zh-CN" };

/** The text of `key`; with `{name}` in it, of `values`. A count `n` of one has a text of its own where `key.one` is there. */
export function t(key, values = {}) {
  const words = WORDS[language()];
  const text = (values.n === 1 && words[`${key}.one`]) || words[key];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? shown(values[name]) : whole));
}

/** The text of `key` where there is one. */
export function word(key, otherwise) {
  return WORDS[language()][key] ?? otherwise;
}

function shown(value) {
  return typeof value === "number" ? value.toLocaleString(tag()) : String(value);
}

/** The language as browsers name it. */
export function tag() {
  return TAGS[language()];
}
