// Charts, drawn as SVG.

import { percent, svg } from "./dom.js";

const WIDTH = 420;
const HEIGHT = 300;
const EDGE = { left: 48, right: 26, top: 12, bottom: 40 };

/** Share of true labels by predicted probability; a larger dot means more labels. */
export function reliability(bins) {
  const most = Math.max(...bins.map((bin) => bin.count));
  const at = square();
  return figure("Share of true labels by predicted probability", "predicted", "true", percents(at), [
    svg("line", { class: "ideal", x1: at.x(0), y1: at.y(0), x2: at.x(1), y2: at.y(1) }),
    svg("polyline", { class: "line", points: bins.map((bin) => `${at.x(bin.stated)},${at.y(bin.true)}`).join(" ") }),
    bins.map((bin) =>
      dot(at.x(bin.stated), at.y(bin.true), 2 + 6 * Math.sqrt(bin.count / most),
        `predicted ${percent(bin.stated, 1)}, true ${percent(bin.true, 1)}, ${bin.count.toLocaleString()} labels`)),
  ]);
}

/** F1 of each label by the number of its training rows. */
export function frequencies(labels) {
  const shown = labels.filter((label) => label.training_rows > 0 && label.f1 !== null);
  const most = Math.log10(Math.max(10, ...shown.map((label) => label.training_rows)));
  const at = square();
  const ticks = Array.from({ length: Math.floor(most) + 1 }, (_, i) => ({ x: at.x(i / most), text: (10 ** i).toLocaleString() }));
  return figure("F1 of each label by its training rows", "training rows", "F1", { x: ticks, y: percents(at).y }, [
    shown.map((label) =>
      dot(at.x(Math.log10(label.training_rows) / most), at.y(label.f1), 2.2,
        `${label.label}: F1 ${percent(label.f1)}, ${label.training_rows.toLocaleString()} training rows`)),
  ]);
}

function square() {
  const width = WIDTH - EDGE.left - EDGE.right;
  const height = HEIGHT - EDGE.top - EDGE.bottom;
  return { x: (share) => EDGE.left + share * width, y: (share) => HEIGHT - EDGE.bottom - share * height };
}

function percents(at) {
  const shares = [0, 0.25, 0.5, 0.75, 1];
  return {
    x: shares.map((share) => ({ x: at.x(share), text: percent(share) })),
    y: shares.map((share) => ({ y: at.y(share), text: percent(share) })),
  };
}

function dot(cx, cy, r, title) {
  return svg("circle", { class: "dot", cx, cy, r }, svg("title", {}, title));
}

function figure(title, across, up, ticks, marks) {
  const at = square();
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title, class: "chart" },
    ticks.y.map(({ y, text }) => [
      svg("line", { class: "grid", x1: at.x(0), x2: at.x(1), y1: y, y2: y }),
      svg("text", { x: EDGE.left - 6, y: y + 4, "text-anchor": "end" }, text),
    ]),
    ticks.x.map(({ x, text }) => svg("text", { x, y: HEIGHT - EDGE.bottom + 16, "text-anchor": "middle" }, text)),
    svg("text", { x: (at.x(0) + at.x(1)) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, across),
    svg("text", { x: 12, y: at.y(0.5), "text-anchor": "middle", transform: `rotate(-90 12 ${at.y(0.5)})` }, up),
    marks,
  );
}
