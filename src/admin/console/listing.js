// A listing in pages, newest first, that stays fresh at its head.

import { get } from "./api.js";
import { button } from "./parts.js";
import { t } from "./i18n.js";
import { attempt } from "./dialog.js";

const PAGE = 50;

export class Listing {
  /** `path` answers `{[key]: rows, next_cursor}`; `idOf(row)` names a row. */
  constructor(path, key, idOf, parameters = {}) {
    Object.assign(this, { path, key, idOf, parameters, rows: [], next: null });
  }

  async page(cursor, signal) {
    return get(this.path, { ...this.parameters, limit: PAGE, cursor }, signal);
  }

  /** Fetches the newest page again. What was loaded beyond it stays, as long as the two meet. */
  async refresh(signal) {
    const page = await this.page(null, signal);
    const fresh = page[this.key];
    const last = fresh.length ? this.idOf(fresh[fresh.length - 1]) : null;
    const meets = this.rows.findIndex((row) => this.idOf(row) === last);
    const beyond = meets >= 0 && fresh.length === PAGE ? this.rows.slice(meets + 1) : [];
    if (beyond.length === 0) this.next = page.next_cursor;
    this.rows = [...fresh, ...beyond];
    return this;
  }

  async more() {
    const page = await this.page(this.next);
    this.rows = [...this.rows, ...page[this.key]];
    this.next = page.next_cursor;
  }

  /** What leads further back. */
  foot(draw) {
    if (!this.next) return null;
    return button(t("more"), () => attempt(() => this.more()).then(draw), { kind: "wide" });
  }
}
