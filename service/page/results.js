// Labels of one entity: a bar for each probability, its threshold, and its reasons.

import { h, percent } from "./dom.js";

const REASONS = {
  company: (reason) => (reason.label ? `often together with ${reason.label}` : "the other labels"),
  namesakes: () => "training entities of the same name",
  frequency: () => "the frequency of the label",
  competition: () => "the scores of the other labels",
  rest: () => "everything else",
};

/** The labels of one result; the bars show the thresholds of `policy`. */
export function resultList(result, entity, { labels, policy }) {
  if (result.error) return h("p", { className: "problem" }, result.error.detail);
  return result.primary ? h("div", {}, primaryLine(result.primary, labels), list(result, entity, labels, policy))
    : list(result, entity, labels, policy);
}

/** The most probable kind of the entity, which the list may not have. */
function primaryLine(primary, labels) {
  return h("p", { className: "primary" }, "Most probable kind: ", h("strong", {}, primary.label), titled(labels.get(primary.label)),
    ` ${percent(primary.probability, 1)}, ${primary.asserted ? "asserted" : "not asserted"}`);
}

function list(result, entity, labels, policy) {
  if (!result.labels.length) return h("p", { className: "quiet" }, "No label reaches the minimum probability.");
  return h(
    "ol",
    { className: "labels" },
    result.labels.map((label) => h("li", {}, line(label, labels, policy), reasonDetails(label, entity))),
  );
}

function line(label, labels, policy) {
  const threshold = labels.get(label.label)?.thresholds[policy];
  const rule =
    threshold === null || threshold === undefined
      ? "never asserted under this policy"
      : `asserted from a probability of ${percent(threshold)}`;
  return h(
    "div",
    { className: label.asserted ? "label asserted" : "label" },
    h("span", { className: "name" }, label.label, titled(labels.get(label.label))),
    h("span", { className: "share" }, percent(label.probability, 1)),
    h(
      "span",
      { className: "bar", title: rule },
      h("span", { className: "fill", style: { width: percent(label.probability, 2) } }),
      threshold > 0 && h("span", { className: "threshold", style: { left: percent(threshold, 2) } }),
    ),
    h("span", { className: "unseen" }, `${label.asserted ? "asserted" : "not asserted"}, ${rule}`),
  );
}

/** The title of a label in the language of the browser, if there is one. */
export function titled(label) {
  return label?.title && h("span", { className: "title" }, ` ${label.title}`);
}

function reasonDetails(label, entity) {
  if (!label.reasons) return null;
  const fields = new Map();
  for (const reason of label.reasons)
    if (reason.about === "field" && reason.start !== undefined)
      fields.set(reason.field, [...(fields.get(reason.field) ?? []), reason]);
  const others = label.reasons.filter((reason) => reason.about !== "field" || reason.start === undefined);
  const marks = [...fields].map(([field, reasons]) => {
    const letters = [...valueOf(entity, field)];
    return { field, letters, weights: letterWeights(letters.length, reasons) };
  });
  const most = Math.max(1e-9, ...marks.flatMap(({ weights }) => [...weights].map(Math.abs)));
  return h(
    "details",
    {},
    h("summary", {}, "why"),
    marks.map(({ field, letters, weights }) =>
      h("p", {}, h("span", { className: "field" }, field), " ", marked(letters, weights, most)),
    ),
    h("ul", { className: "reasons" }, others.map(other)),
  );
}

function valueOf(entity, field) {
  const value = entity[field];
  return Array.isArray(value) ? value.join(";") : String(value ?? "");
}

/** The weight of each letter of a value: each letter gets an equal part of its reason's weight. */
function letterWeights(length, reasons) {
  const weights = new Float64Array(length);
  for (const { start, end, weight } of reasons)
    for (let i = start; i < Math.min(end, length); i++) weights[i] += weight / (end - start);
  return weights;
}

/** Letters with marks that show whether they raise or lower the log-odds of the label. */
function marked(letters, weights, most) {
  const parts = [];
  for (let i = 1, from = 0; i <= letters.length; i++) {
    if (i < letters.length && weights[i] === weights[i - 1]) continue;
    parts.push(part(letters.slice(from, i).join(""), weights[i - 1], most));
    from = i;
  }
  return h("span", { className: "marked" }, parts);
}

function part(text, weight, most) {
  const strength = Math.ceil((3 * Math.abs(weight)) / most);
  if (!strength) return text;
  const side = weight > 0 ? "for" : "against";
  return h("mark", { className: `${side} s${strength}`, title: `evidence ${side} the label` }, text);
}

function other(reason) {
  const text =
    reason.about === "field" ? `${reason.field} ${reason.text ?? ""}` : REASONS[reason.about](reason);
  const sign = reason.weight < 0 ? "against" : "for";
  return h(
    "li",
    { className: sign },
    h("span", {}, text),
    h("span", { className: "weight" }, `${reason.weight < 0 ? "−" : "+"}${Math.abs(reason.weight).toFixed(2)}`),
  );
}
