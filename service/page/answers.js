// Labels of one entity, with bars against their thresholds, and why.

import { h, percent } from "./dom.js";

const TOLD = {
  company: (reason) => (reason.label ? `goes with ${reason.label}` : "the other labels"),
  namesakes: () => "others of the same name",
  frequency: () => "how frequent the label is",
  competition: () => "how the other labels did",
  rest: () => "everything else",
};

/** The labels of one result; `policy` says which thresholds are drawn. */
export function answer(result, entity, { labels, policy }) {
  if (result.error) return h("p", { className: "problem" }, result.error.detail);
  if (!result.labels.length) return h("p", { className: "quiet" }, "No label is that probable.");
  return h(
    "ol",
    { className: "labels" },
    result.labels.map((label) => h("li", {}, line(label, labels, policy), why(label, entity))),
  );
}

function line(label, labels, policy) {
  const threshold = labels.get(label.label)?.thresholds[policy];
  const promise =
    threshold === null || threshold === undefined
      ? "never asserted under this policy"
      : `asserted from ${percent(threshold)} on`;
  return h(
    "div",
    { className: label.asserted ? "label asserted" : "label" },
    h("span", { className: "name" }, label.label, titled(labels.get(label.label))),
    h("span", { className: "share" }, percent(label.probability, 1)),
    h(
      "span",
      { className: "bar", title: promise },
      h("span", { className: "fill", style: { width: percent(label.probability, 2) } }),
      threshold > 0 && h("span", { className: "threshold", style: { left: percent(threshold, 2) } }),
    ),
    h("span", { className: "unseen" }, `${label.asserted ? "asserted" : "not asserted"}, ${promise}`),
  );
}

/** What a label is called in the language of the browser, where it is known. */
export function titled(label) {
  return label?.title && h("span", { className: "title" }, ` ${label.title}`);
}

function why(label, entity) {
  if (!label.reasons) return null;
  const fields = new Map();
  for (const reason of label.reasons)
    if (reason.about === "field" && reason.start !== undefined)
      fields.set(reason.field, [...(fields.get(reason.field) ?? []), reason]);
  const others = label.reasons.filter((reason) => reason.about !== "field" || reason.start === undefined);
  return h(
    "details",
    {},
    h("summary", {}, "why"),
    [...fields].map(([field, reasons]) =>
      h("p", {}, h("span", { className: "field" }, field), " ", marked(valueOf(entity, field), reasons)),
    ),
    h("ul", { className: "reasons" }, others.map(other)),
  );
}

function valueOf(entity, field) {
  const value = entity[field];
  return Array.isArray(value) ? value.join(";") : String(value ?? "");
}

/** A value whose letters are marked by what they say for the label, and against it. */
export function marked(value, reasons) {
  const letters = [...value];
  const weights = new Float64Array(letters.length);
  for (const { start, end, weight } of reasons)
    for (let i = start; i < Math.min(end, letters.length); i++) weights[i] += weight / (end - start);
  const most = Math.max(...weights.map(Math.abs), 1e-9);
  const parts = [];
  for (let i = 0, from = 0; i <= letters.length; i++) {
    if (i && (i === letters.length || weights[i] !== weights[i - 1])) {
      parts.push(part(letters.slice(from, i).join(""), weights[i - 1], most));
      from = i;
    }
  }
  return h("span", { className: "marked" }, parts);
}

function part(text, weight, most) {
  const strength = Math.ceil((3 * Math.abs(weight)) / most);
  if (!strength) return text;
  const side = weight > 0 ? "for" : "against";
  return h("mark", { className: `${side} s${strength}`, title: `speaks ${side} it` }, text);
}

function other(reason) {
  const text =
    reason.about === "field" ? `${reason.field} ${reason.text ?? ""}` : TOLD[reason.about](reason);
  const sign = reason.weight < 0 ? "against" : "for";
  return h(
    "li",
    { className: sign },
    h("span", {}, text),
    h("span", { className: "weight" }, `${reason.weight < 0 ? "−" : "+"}${Math.abs(reason.weight).toFixed(2)}`),
  );
}
