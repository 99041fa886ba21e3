// Which numbers of a batch have no call record yet, by their rows in the file that was sent.

import { get } from "../api.js";
import { attempt, open } from "../dialog.js";
import { h, show } from "../dom.js";
import { t, word } from "../i18n.js";
import { button, facts, failure, loading } from "../parts.js";
import { count } from "../format.js";

const PAGE = 500;

/** Opens a dialog that tells. */
export function askMissing(batch) {
  const place = h("div");
  open(t("missing.title", { name: batch.call_sn_name || batch.call_sn }), () => [place]);
  show(place, loading());
  const path = `batches/${encodeURIComponent(batch.call_sn)}/missing`;
  const rows = [];
  const more = async (cursor) => {
    const page = await get(path, { limit: PAGE, cursor });
    rows.push(...page.missing);
    show(place, page.seen ? told(page, rows, () => attempt(() => more(page.next_cursor))) : unseen(page));
  };
  const first = () => more(null).catch((problem) => show(place, failure(problem, first)));
  first();
}

function unseen({ why }) {
  return h("p", null, word(`missing.${why}`, t("missing.unseen")));
}

function told(page, rows, further) {
  return h(
    "div",
    null,
    h("p", { class: "muted" }, t("missing.about")),
    facts([
      [t("missing.rows"), count(page.sent)],
      [t("missing.distinct"), count(page.distinct)],
      [t("missing.count"), count(page.missing_count)],
      page.unexpected > 0 && [t("missing.unexpected"), count(page.unexpected)],
    ]),
    rows.length
      ? h(
          "ul",
          { class: "rows", tabindex: "0", "aria-label": t("missing.list") },
          rows.map(({ row, repeats }) =>
            h(
              "li",
              { "data-key": row },
              count(row),
              repeats.length
                ? h(
                    "span",
                    { class: "muted" },
                    ` ${t("missing.again", { rows: repeats.map(count).join(", ") })}`,
                  )
                : null,
            ),
          ),
        )
      : h("p", null, t("missing.none")),
    page.next_cursor ? button(t("missing.more"), further, { kind: "wide" }) : null,
  );
}
