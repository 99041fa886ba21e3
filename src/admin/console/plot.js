// A plot of the last hour. It is a slider too: arrow keys go from sample to sample, and say what is there.

import { h, show, svg } from "./dom.js";
import { clock } from "./format.js";
import { t, tag } from "./i18n.js";

const HEIGHT = 132;
const PAD = { left: 46, right: 8, top: 8, bottom: 20 };
const LEAST_SPAN_MS = 10 * 60_000;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };

/** `series` are `{name, color, of(sample)}`; `of` may give null. `format` says a value in words. */
export function plot({ title, series, format, stacked = false }) {
  const legend = h("ul", { class: "legend" });
  const canvas = h("div", {
    class: "plot-canvas",
    tabindex: "0",
    role: "slider",
    "aria-label": title,
    "aria-orientation": "horizontal",
  });
  const root = h(
    "figure",
    { class: "plot" },
    h("figcaption", null, h("span", { class: "plot-title" }, title), legend),
    canvas,
  );
  let samples = [];
  let cursor = null;

  function draw() {
    const width = Math.max(220, canvas.clientWidth || 480);
    const frame = scales(samples, series, stacked, width);
    show(
      canvas,
      samples.length === 0
        ? h("p", { class: "plot-empty" }, t("plot.empty"))
        : picture(frame, samples, series, stacked, format, cursor),
    );
    show(legend, ...key(samples, series, format, cursor));
    describe(canvas, samples, series, format, cursor);
  }

  function point(index) {
    cursor = index === null ? null : Math.min(samples.length - 1, Math.max(0, index));
    draw();
  }

  canvas.onkeydown = (event) => {
    if (event.key === "Escape") return point(null);
    const step = STEPS[event.key];
    if (step === undefined || samples.length === 0) return undefined;
    event.preventDefault();
    return point((cursor ?? samples.length - 1) + step);
  };
  canvas.onpointermove = (event) => {
    if (samples.length === 0) return;
    const box = canvas.getBoundingClientRect();
    const { x } = scales(samples, series, stacked, box.width);
    point(nearest(samples, x, event.clientX - box.left));
  };
  canvas.onpointerleave = () => point(null);
  new ResizeObserver(draw).observe(canvas);
  draw();
  return {
    root,
    update(fresh) {
      // A cursor stays on its sample while others come in and go.
      const at = cursor === null ? null : samples[cursor].at;
      samples = fresh;
      const index = at === null ? -1 : samples.findIndex((sample) => sample.at === at);
      cursor = index < 0 ? null : index;
      draw();
    },
  };
}

function scales(samples, series, stacked, width) {
  const times = samples.map((sample) => Date.parse(sample.at));
  const end = times[times.length - 1] ?? Date.now();
  const start = Math.min(times[0] ?? end, end - LEAST_SPAN_MS);
  const top = nice(Math.max(...samples.map((sample) => height(sample, series, stacked)), 0));
  const inner = { width: width - PAD.left - PAD.right, height: HEIGHT - PAD.top - PAD.bottom };
  return {
    width,
    start,
    end,
    top,
    x: (at) => PAD.left + ((Date.parse(at) - start) / (end - start)) * inner.width,
    y: (value) => PAD.top + (1 - value / top) * inner.height,
  };
}

function height(sample, series, stacked) {
  const values = series.map(({ of }) => of(sample) ?? 0);
  return stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
}

/** The next of 1, 2, 4, 5 or 10 times a power of ten. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

function nearest(samples, x, at) {
  let best = 0;
  samples.forEach((sample, index) => {
    if (Math.abs(x(sample.at) - at) < Math.abs(x(samples[best].at) - at)) best = index;
  });
  return best;
}

function picture(frame, samples, series, stacked, format, cursor) {
  const base = samples.map(() => 0);
  const drawn = series.map((one) => {
    const values = samples.map((sample) => one.of(sample));
    if (!stacked) return line(frame, samples, values, one.color);
    const lower = [...base];
    values.forEach((value, at) => {
      base[at] += value ?? 0;
    });
    return area(frame, samples, lower, [...base], one.color);
  });
  const mark = cursor === null ? null : samples[cursor] && frame.x(samples[cursor].at);
  return svg(
    "svg",
    {
      viewBox: `0 0 ${frame.width} ${HEIGHT}`,
      width: frame.width,
      height: HEIGHT,
      "aria-hidden": "true",
      focusable: "false",
    },
    grid(frame, format),
    drawn,
    mark === null || mark === undefined
      ? null
      : svg("line", { class: "cursor", x1: mark, x2: mark, y1: PAD.top, y2: HEIGHT - PAD.bottom }),
  );
}

function grid(frame, format) {
  const rows = [0, 0.5, 1].map((share) => {
    const y = frame.y(share * frame.top);
    return [
      svg("line", { class: "grid", x1: PAD.left, x2: frame.width - PAD.right, y1: y, y2: y }),
      svg(
        "text",
        { class: "tick", x: PAD.left - 6, y: y + 4, "text-anchor": "end" },
        format(share * frame.top),
      ),
    ];
  });
  return [rows, hours(frame)];
}

/** Full quarters of an hour; of a shorter time, fewer minutes. */
function hours({ start, end, x, width }) {
  const step = [1, 2, 5, 15, 30].find((minutes) => (end - start) / (minutes * 60_000) <= width / 90) ?? 60;
  const ticks = [];
  for (let at = Math.ceil(start / (step * 60_000)) * step * 60_000; at <= end; at += step * 60_000) {
    const place = x(new Date(at).toISOString());
    if (place < PAD.left + 14 || place > width - 20) continue;
    ticks.push(
      svg(
        "text",
        { class: "tick", x: place, y: HEIGHT - 5, "text-anchor": "middle" },
        new Date(at).toLocaleTimeString(tag(), { hour: "2-digit", minute: "2-digit", hour12: false }),
      ),
    );
  }
  return ticks;
}

function line(frame, samples, values, color) {
  const there = (at) => values[at] !== null && values[at] !== undefined;
  const points = samples.map(
    ({ at }, index) => there(index) && [frame.x(at).toFixed(1), frame.y(values[index]).toFixed(1)],
  );
  const path = points.map((point, at) => (point ? `${there(at - 1) ? "L" : "M"}${point.join(" ")}` : ""));
  // What has no neighbour would be a line of no length.
  const alone = points.filter((point, at) => point && !there(at - 1) && !there(at + 1));
  return [
    svg("path", { class: `line ${color}`, d: path.join("") }),
    alone.map(([x, y]) => svg("circle", { class: `point ${color}`, cx: x, cy: y, r: 2.5 })),
  ];
}

function area(frame, samples, lower, upper, color) {
  const along = (values, order) =>
    order.map((at) => `${frame.x(samples[at].at).toFixed(1)} ${frame.y(values[at]).toFixed(1)}`).join("L");
  const there = samples.map((_, at) => at);
  return svg("path", {
    class: `area ${color}`,
    d: `M${along(upper, there)}L${along(lower, there.toReversed())}Z`,
  });
}

function key(samples, series, format, cursor) {
  const sample = samples[cursor ?? samples.length - 1];
  const items = series.map(({ name, color, of }) => {
    const value = sample ? of(sample) : null;
    return h(
      "li",
      null,
      h("span", { class: `swatch ${color}`, "aria-hidden": "true" }),
      name,
      h("b", null, value === null || value === undefined ? "–" : format(value)),
    );
  });
  return cursor === null || !sample ? items : [h("li", { class: "at" }, clock(sample.at)), ...items];
}

function describe(canvas, samples, series, format, cursor) {
  const index = cursor ?? samples.length - 1;
  const sample = samples[index];
  const said = (one) => {
    const value = one.of(sample);
    return `${one.name} ${value === null || value === undefined ? t("plot.none") : format(value)}`;
  };
  canvas.setAttribute("aria-valuemin", 0);
  canvas.setAttribute("aria-valuemax", Math.max(0, samples.length - 1));
  canvas.setAttribute("aria-valuenow", Math.max(0, index));
  canvas.setAttribute(
    "aria-valuetext",
    sample ? [clock(sample.at), ...series.map(said)].join(", ") : t("plot.empty"),
  );
}
