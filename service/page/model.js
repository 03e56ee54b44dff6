// Model page: quality by label and slice, precision guarantees, drift, and the shadow comparison.

import { modelAndLabels, Problem, request } from "./api.js";
import { frequencies, reliability } from "./charts.js";
import { h, percent } from "./dom.js";

const FIGURES = [
  ["p_at_1", "P@1: the most probable label is true", (value) => `${value.toFixed(1)}%`],
  ["p_at_1_labelled", "P@1 of the rows that have a label", (value) => `${value.toFixed(1)}%`],
  ["p_at_5", "P@5: of the five most probable labels", (value) => `${value.toFixed(1)}%`],
  ["micro_f1", "micro-F1", (value) => value.toFixed(3)],
  ["macro_f1", "macro-F1", (value) => value.toFixed(3)],
  ["ece", "calibration error", (value) => percent(value, 2)],
];
const SHOWN = 200;

/** Fill the page. */
export async function show(main) {
  const { model, labels } = await modelAndLabels();
  const [report, drift, comparison] = await Promise.all([
    request("v1/model/report"),
    optional("v1/drift"),
    optional("v1/model/comparison"),
  ]);
  const rows = described(labels, report.labels);
  main.replaceChildren(
    h("h1", {}, model.name ? `${model.name}, version ${model.version}` : "A bundle without a name"),
    origin(model),
    h("ul", { className: "figures" }, FIGURES.map((figure) => tile(figure, model.metrics))),
    h("p", { className: "quiet" }, `On ${(model.metrics.rows ?? 0).toLocaleString()} test rows; ${model.labels.toLocaleString()} labels.`),
    ...driftTable(drift),
    ...comparisonTable(comparison),
    ...charts(report, rows),
    ...labelTable(rows),
    ...sliceTable(report.slices),
    ...guaranteeTable(report.promises),
  );
}

function charts(report, rows) {
  if (!report.reliability?.length) return [];
  return [h("div", { className: "charts" }, reliability(report.reliability), frequencies(rows))];
}

/** The response of a path, null if it does not exist or the key does not allow it. */
async function optional(path) {
  try {
    return await request(path);
  } catch (error) {
    if (error instanceof Problem) return null;
    throw error;
  }
}

function origin(model) {
  return h("p", { className: "quiet" }, `content ${model.content}, trained by labelwright ${model.labelwright}`,
    model.run_url ? [" · ", h("a", { href: model.run_url, rel: "noreferrer" }, "run in MLflow")] : model.run_id && ` · run ${model.run_id}`);
}

function tile([name, title, format], metrics) {
  if (name === "p_at_1_labelled" && metrics[name] === metrics.p_at_1) return null;
  return metrics[name] === undefined ? null : h("li", {}, h("strong", {}, format(metrics[name])), title);
}

/** Labels with their thresholds and their figures on the test rows. */
function described(labels, columns = {}) {
  return [...labels.values()].map((label, i) => ({
    ...label,
    training_rows: columns.training_rows?.[i] ?? null,
    precision: columns.precision?.[i] ?? null,
    recall: columns.recall?.[i] ?? null,
    f1: columns.f1?.[i] ?? null,
  }));
}

function labelTable(rows) {
  const policies = Object.keys(rows[0]?.thresholds ?? {});
  const holder = h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Labels" });
  const count = h("p", { className: "quiet", role: "status" });
  const draw = (text) => {
    const words = text.toLowerCase().split(/\s+/);
    const found = rows.filter((row) => words.every((word) => row.label.toLowerCase().includes(word)));
    count.textContent = `${found.length.toLocaleString()} labels${found.length > SHOWN ? `, ${SHOWN} shown` : ""}`;
    holder.replaceChildren(
      table(
        ["label", "training rows", "precision", "recall", "F1", ...policies.map((name) => `${name} from`)],
        found.slice(0, SHOWN).map((row) => [
          row.label, whole(row.training_rows), share(row.precision), share(row.recall), share(row.f1),
          ...policies.map((name) => (row.thresholds[name] === null ? "never" : share(row.thresholds[name]))),
        ]),
      ),
    );
  };
  draw("");
  const search = h("input", { type: "search", oninput: (event) => draw(event.target.value) });
  return [h("h2", {}, "Labels"), h("label", {}, "Find labels", search), count, holder];
}

function sliceTable(slices) {
  if (!slices?.length) return [];
  return [
    h("h2", {}, "Quality by slice"),
    h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Slices" },
      table(["slice", "rows", "P@1", "micro-F1", "difference"], slices.map((slice) => [
        slice.slice, whole(slice.rows), slice.p_at_1 === null ? "" : `${slice.p_at_1.toFixed(1)}%`,
        slice.micro_f1?.toFixed(3) ?? "", slice.difference === null ? "" : signed(slice.difference),
      ]))),
  ];
}

function guaranteeTable(promises) {
  if (!promises?.length) return [];
  return [
    h("h2", {}, "Precision guarantees"),
    h("p", { className: "quiet" }, "The precision that min_precision guarantees, and the precision on the test rows."),
    h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Precision guarantees" },
      table(["guaranteed", "labels", "asserted", "precision", "recall"], promises.map((line) => [
        percent(line.promise), whole(line.labels), whole(line.asserted), share(line.precision), share(line.recall),
      ]))),
  ];
}

function driftTable(drift) {
  if (!drift) return [];
  const shifts = [...drift.fields, ...drift.scores, ...drift.labels].filter((shift) => shift.psi > 0);
  return [
    h("h2", {}, "Drift"),
    h("p", {}, `${drift.verdict} (${drift.rows.toLocaleString()} recent rows)`),
    shifts.length > 0 &&
      h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Drift" },
        table(["field, score or label", "index (PSI)", "moved"], shifts.map((shift) => [
          shift.name, shift.psi.toFixed(3), shift.moved ? "yes" : "",
        ]))),
  ].filter(Boolean);
}

function comparisonTable(comparison) {
  if (!comparison?.challenger) return [];
  const { champion, challenger, entities, alike, labels } = comparison;
  const differing = labels.filter((label) => label.champion_only || label.challenger_only);
  return [
    h("h2", {}, "Champion and challenger"),
    h("p", {}, `Versions ${champion.version} and ${challenger.version} asserted the same labels for `,
      `${alike.toLocaleString()} of ${entities.toLocaleString()} entities.`),
    h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Champion and challenger" },
      table(["label", "both", "only the champion", "only the challenger"], differing.map((label) => [
        label.label, whole(label.both), whole(label.champion_only), whole(label.challenger_only),
      ]))),
  ];
}

function table(header, rows) {
  const kind = (i) => (i ? "number" : "");
  return h("table", {},
    h("thead", {}, h("tr", {}, header.map((title, i) => h("th", { className: kind(i), scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h("td", { className: kind(i) }, cell))))));
}

const whole = (value) => (value === null ? "" : value.toLocaleString());
const share = (value) => (value === null || value === undefined ? "" : percent(value, 1));
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
