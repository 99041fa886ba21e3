// Where the reader is: #/page, #/page/id, each with ?filters.

export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/").map(decoded);
  return { page: page || "overview", id: rest.join("/") || null, query: new URLSearchParams(query) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a page. Filters without a value are left out. */
export function address(page, id = null, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value);
  const filters = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${page}${id === null ? "" : `/${encodeURIComponent(id)}`}${filters}`;
}

export function go(to) {
  location.hash = to;
}
