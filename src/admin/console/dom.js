// Elements, and putting a new tree in the place of an old one. Text goes in as text, always: there is no way
// here to make elements out of a string.

const HANDLERS = [
  "onclick",
  "onchange",
  "oninput",
  "onkeydown",
  "onpointermove",
  "onpointerleave",
  "onsubmit",
];
const PROPERTIES = ["checked", "value", "disabled", "indeterminate"];
const SVG = "http://www.w3.org/2000/svg";

export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(node, properties, children) {
  // Children first: a select's value is one of its options.
  node.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map(textOf),
  );
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") Object.entries(value).forEach(([key, to]) => node.style.setProperty(key, to));
    else if (HANDLERS.includes(name) || PROPERTIES.includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

function textOf(child) {
  return child instanceof Node ? child : String(child);
}

/** Makes `old` what `fresh` is, keeping every node that can be kept: with it focus, selection and scroll. */
export function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  morphAttributes(old, fresh);
  HANDLERS.forEach((name) => {
    if (old[name] !== fresh[name]) old[name] = fresh[name];
  });
  if (old instanceof HTMLInputElement && old.type === "checkbox") {
    old.checked = fresh.checked;
    old.indeterminate = fresh.indeterminate;
  }
  morphChildren(old, fresh.childNodes);
}

function morphAttributes(old, fresh) {
  // What a reader has opened stays open.
  const own = (name) => name === "style" || (name === "open" && old.nodeName === "DETAILS");
  for (const { name } of [...old.attributes]) {
    if (!own(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (!own(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
}

function morphChildren(old, fresh) {
  const keyed = new Map(
    [...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]),
  );
  let at = old.firstChild;
  for (const child of [...fresh]) {
    const key = child.dataset?.key;
    const match = key ? keyed.get(key) : at && alike(at, child) ? at : null;
    if (match === at && at) at = at.nextSibling;
    else old.insertBefore(match ?? child, at);
    if (match) morph(match, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && !one.dataset?.key;
}

/** Shows these nodes in `parent`, and nothing else. */
export function show(parent, ...nodes) {
  morphChildren(parent, h("div", null, ...nodes).childNodes);
}
