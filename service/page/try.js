// Try page: a form made from the model's schema, or pasted rows; labels are updated while typing.

import { resultList } from "./results.js";
import { modelAndLabels, request } from "./api.js";
import { debounced, h } from "./dom.js";
import { parse } from "./records.js";

const LINK_LIMIT = 6000;
const EXPLAINED_LIMIT = 20;
const ROWS_LIMIT = 200;

/** Fill the page; `state` has the parameters of the link. */
export async function show(main, state) {
  const inService = await modelAndLabels();
  const { model } = inService;
  const results = h("section", { className: "results", "aria-live": "polite", "aria-label": "Labels" });
  const policy = select("Policy", "policy", model.policies, state.get("policy") ?? "balanced");
  const fields = inputs(model.schema, state);
  const pasted = h("textarea", {
    name: "rows",
    rows: 6,
    spellcheck: false,
    placeholder: "name,city\nJoe's Pizza,New York",
    value: state.get("rows") ?? "",
  });
  const form = h(
    "form",
    { className: "try", onsubmit: (event) => event.preventDefault() },
    h("div", { className: "fields" }, fields),
    policy,
    h(
      "details",
      { open: Boolean(pasted.value) },
      h("summary", {}, "Paste several rows"),
      h("label", {}, `CSV, JSON, or cells of a spreadsheet (at most ${ROWS_LIMIT} rows)`, pasted),
    ),
    h("p", { className: "actions" }, h("button", { type: "button", onclick: example }, "Show an example"),
      h("button", { type: "reset", onclick: () => setTimeout(changed) }, "Clear")),
  );
  let controller;
  const update = debounced(async () => {
    controller?.abort();
    controller = new AbortController();
    await label(form, results, inService, controller.signal);
  }, 120);
  function changed() {
    saveInLink(form);
    update();
  }
  function example() {
    for (const input of form.querySelectorAll("[data-example]")) input.value = input.dataset.example;
    pasted.value = "";
    changed();
  }
  form.addEventListener("input", changed);
  main.replaceChildren(
    h("h1", {}, "What is this place?"),
    h("div", { className: "columns" }, form, results),
  );
  update();
}

function inputs(schema, state) {
  return Object.entries(schema.columns).flatMap(([name, column]) =>
    (column.fields ?? [name]).map((field) => input(field, column, state.get(field))),
  );
}

function input(field, column, value) {
  return h(
    "label",
    { title: column.about },
    field.replaceAll("_", " "),
    h("input", {
      name: field,
      value: value ?? "",
      autocomplete: "off",
      placeholder: column.example ?? "",
      "data-example": column.example ?? "",
      "data-kind": column.kind,
    }),
  );
}

function select(title, name, choices, chosen) {
  return h(
    "label",
    { className: "policy" },
    title,
    h("select", { name }, choices.map((choice) => h("option", { value: choice, selected: choice === chosen }, choice))),
  );
}

/** Save the state of the form in the link. */
function saveInLink(form) {
  const filled = [...new FormData(form)].filter(([name, value]) => value && (name !== "policy" || value !== "balanced"));
  const link = `#/try?${new URLSearchParams(filled)}`;
  history.replaceState(null, "", link.length < LINK_LIMIT ? link : "#/try");
}

/** The entities of the form: the pasted rows if there are any, else the typed entity. */
function entitiesOf(form) {
  const pasted = parse(form.elements.rows.value);
  if (pasted.length) return pasted;
  const typed = {};
  for (const input of form.querySelectorAll(".fields input"))
    if (input.value.trim()) typed[input.name] = valueOf(input);
  return Object.keys(typed).length ? [typed] : [];
}

function valueOf(input) {
  const { kind } = input.dataset;
  if (kind === "tags") return Object.fromEntries(input.value.split(";").map((tag) => pair(tag)));
  if (kind === "point" || kind === "number") return Number.isFinite(+input.value) ? +input.value : input.value;
  return input.value;
}

function pair(tag) {
  const [key, ...value] = tag.split("=");
  return [key.trim(), value.join("=").trim()];
}

async function label(form, results, inService, signal) {
  try {
    const all = entitiesOf(form);
    const entities = all.slice(0, ROWS_LIMIT);
    if (!entities.length) return results.replaceChildren(h("p", { className: "quiet" }, "Type a name."));
    const policy = form.elements.policy.value;
    const explain = entities.length <= EXPLAINED_LIMIT;
    const body = { entities, policy, explain, top_k: explain ? 8 : 5 };
    const response = await request("v1/labels", { method: "POST", body, signal });
    results.replaceChildren(
      ...(all.length > ROWS_LIMIT ? [h("p", { className: "problem" }, `Only the first ${ROWS_LIMIT} of ${all.length.toLocaleString()} rows are labelled.`)] : []),
      ...(response.warnings ?? []).map((warning) => h("p", { className: "problem" }, warning)),
      ...response.results.map((result, i) =>
        h(
          "article",
          {},
          entities.length > 1 && h("h2", {}, String(entities[i].name ?? result.id)),
          resultList(result, entities[i], { labels: inService.labels, policy }),
        ),
      ),
    );
  } catch (error) {
    if (error.name !== "AbortError") results.replaceChildren(h("p", { className: "problem" }, error.message));
  }
}
