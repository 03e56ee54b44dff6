// Review page: shows entities one after another, the most useful to review first. All actions have keys.

import { modelAndLabels, request } from "./api.js";
import { h, percent } from "./dom.js";
import { parse } from "./records.js";

const POLICY = "balanced";
const BATCH = 200;
const ROWS_LIMIT = 10_000;
const REASONS = {
  undecided: ({ label }) => `undecided: ${label}`,
  improbable: () => "no label is probable",
  unseen: ({ field, share }) => `${percent(share)} of the ${field} is new to the model`,
  given: (reason) => `given labels disagree: ${differing(reason)}`,
  challenger: (reason) => `the challenger disagrees: ${differing(reason)}`,
};
const KEYS = [
  ["↑ ↓", "choose a label"],
  ["a", "accept it"],
  ["r", "reject it"],
  ["+", "add another"],
  ["Enter", "save and continue"],
  ["s", "skip"],
  ["u", "undo"],
];

/** Fill the page; returns the function to call when the page is left. */
export async function show(main) {
  const { labels } = await modelAndLabels();
  const session = { labels, queue: [], at: 0, saved: [], reviewer: "" };
  const listener = (event) => onKey(event, session);
  document.addEventListener("keydown", listener);
  main.replaceChildren(start(session));
  return () => document.removeEventListener("keydown", listener);
}

function start(session) {
  const text = h("textarea", {
    name: "rows",
    rows: 8,
    required: true,
    spellcheck: false,
    placeholder: "id,name,city,labels\n1,Joe's Pizza,New York,amenity=restaurant",
  });
  const file = h("input", { type: "file", accept: ".csv,.tsv,.json,.jsonl,.ndjson,.txt" });
  file.addEventListener("change", async () => {
    if (file.files.length) text.value = await file.files[0].text();
  });
  const problem = h("p", { className: "problem", role: "alert" });
  const progress = h("p", { className: "quiet", role: "status" });
  const button = h("button", {}, "Begin");
  const reviewer = h("input", { name: "reviewer", required: true, maxLength: 200, autocomplete: "username" });
  const begin = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    button.disabled = true;
    try {
      session.reviewer = reviewer.value;
      [session.queue, session.rejected] = await ranked(parse(text.value), (done, all) => {
        progress.textContent = `${done.toLocaleString()} of ${all.toLocaleString()} rows are ranked`;
      });
      session.stage = h("section", { className: "stage", "aria-live": "polite" });
      event.target.replaceWith(session.stage);
      draw(session);
    } catch (error) {
      problem.textContent = error.message;
      button.disabled = false;
    }
  };
  return h(
    "form",
    { className: "start", onsubmit: begin },
    h("h1", {}, "Which labels need a review?"),
    h("p", {}, "Load places, with labels if they have some. Places come first if the model is undecided, if they ",
      "are unlike its training data, or if their labels or a challenger contradict the model."),
    h("label", {}, "Your name", reviewer),
    h("label", {}, "A file", file),
    h("label", {}, "or rows: CSV, JSON, or cells of a spreadsheet", text),
    problem,
    progress,
    button,
  );
}

/** The labelled entities, the most useful to review first, and the number of rejected rows. `onProgress` is called after each batch. */
async function ranked(entities, onProgress) {
  if (!entities.length) throw new Error("there are no rows");
  if (entities.length > ROWS_LIMIT) throw new Error(`at most ${ROWS_LIMIT.toLocaleString()} rows can be reviewed at a time`);
  const queue = [];
  let rejected = 0;
  for (let first = 0; first < entities.length; first += BATCH) {
    const part = entities.slice(first, first + BATCH).map(({ labels, ...entity }) => ({ entity, labels: listed(labels) }));
    const labelled = part.map(({ entity, labels }) => ({ ...entity, labels }));
    const response = await request("v1/review", { method: "POST", body: { entities: labelled, policy: POLICY } });
    response.results.forEach((result, i) => {
      if (result.error) rejected += 1;
      else queue.push({ entity: part[i].entity, model: response.model, result, verdicts: new Map(), chosen: 0 });
    });
    onProgress(first + part.length, entities.length);
  }
  if (!queue.length) throw new Error("no row can be labelled: check the names of the columns");
  return [queue.sort((a, b) => b.result.worth.rank - a.result.worth.rank), rejected];
}

/** Labels of a row; a spreadsheet has them in one cell, separated by semicolons or vertical bars. */
function listed(labels) {
  if (labels === undefined || labels === null || labels === "") return null;
  return Array.isArray(labels) ? labels : String(labels).split(/[;|]/).map((label) => label.trim()).filter(Boolean);
}

/** The labels that the model does not assert (+), and those that only the model asserts (−). */
function differing({ missing, surplus }) {
  return [...missing.map((label) => `+ ${label}`), ...surplus.map((label) => `− ${label}`)].join(", ");
}

function draw(session) {
  const item = session.queue[session.at];
  session.stage.replaceChildren(...(item ? card(session, item) : done(session)));
  session.stage.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
}

function done(session) {
  const count = session.saved.filter(Boolean).length;
  return [
    h("h1", {}, "The review is complete."),
    h("p", {}, `${count} of ${session.queue.length} entities were corrected or confirmed. The next training uses them.`),
    h("p", { className: "actions" }, h("button", { onclick: () => undo(session) }, "Back to the last one")),
  ];
}

function card(session, item) {
  const { entity } = item;
  return [
    h("p", { className: "quiet" }, `${session.at + 1} of ${session.queue.length}`,
      session.rejected > 0 && `; ${session.rejected} rows are rejected`,
      item === session.saved[session.at] && " · saved; saving again replaces your verdicts"),
    h("h1", {}, String(entity.name ?? item.result.id)),
    h("dl", {}, Object.entries(entity).filter(([field]) => field !== "name").map(([field, value]) => [
      h("dt", {}, field), h("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
    ])),
    h("ul", { className: "badges" }, item.result.worth.reasons.map((reason) => h("li", {}, REASONS[reason.about](reason)))),
    h("ol", { className: "verdicts" }, choices(item).map((label, i) => choice(session, item, label, i))),
    adding(session, item),
    h("p", { className: "problem", role: "alert" }, item.problem ?? ""),
    h("p", { className: "actions" },
      h("button", { onclick: () => save(session) }, "Save and continue"),
      h("button", { onclick: () => skip(session) }, "Skip"),
      h("button", { onclick: () => undo(session), disabled: !session.at }, "Undo")),
    h("p", { className: "keys" }, KEYS.map(([key, action]) => [h("kbd", {}, key), ` ${action} `])),
  ];
}

/** The labels to judge: those of the result, and those that the reviewer added. */
function choices({ result, verdicts }) {
  const listed = result.labels.map((label) => label.label);
  return [...listed, ...[...verdicts.keys()].filter((label) => !listed.includes(label))];
}

function choice(session, item, label, i) {
  const predicted = item.result.labels.find((each) => each.label === label);
  const verdict = item.verdicts.get(label);
  const set = (value) => () => {
    item.chosen = i;
    judge(item, label, value);
    draw(session);
  };
  const button = (value, sign) =>
    h("button", { "aria-pressed": String(verdict === value), "aria-label": `${value} ${label}`, onclick: set(value) }, sign);
  return h(
    "li",
    { "aria-current": String(i === item.chosen), className: verdict ?? "" },
    h("span", { className: "name" }, label),
    h("span", { className: "share" }, predicted ? `${percent(predicted.probability, 1)}${predicted.asserted ? " asserted" : ""}` : "added"),
    button("accept", "✓"),
    button("reject", "✕"),
  );
}

function judge(item, label, value) {
  if (item.verdicts.get(label) === value) item.verdicts.delete(label);
  else item.verdicts.set(label, value);
}

function adding(session, item) {
  const names = h("datalist", { id: "labels" });
  const field = h("input", { id: "add", autocomplete: "off", maxLength: 200 });
  field.setAttribute("list", "labels");
  field.addEventListener("input", () => names.replaceChildren(...suggested(field.value, session.labels)));
  const add = (event) => {
    event.preventDefault();
    const label = field.value.trim();
    if (!label) return;
    item.verdicts.set(label, "accept");
    draw(session);
  };
  return h("form", { className: "add", onsubmit: add }, h("label", {}, "Add a label ", field), names, h("button", {}, "Add"));
}

function suggested(text, labels) {
  const words = text.toLowerCase().split(/\s+/);
  const found = [...labels.keys()].filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  return found.slice(0, 20).map((value) => h("option", { value }));
}

async function save(session) {
  const item = session.queue[session.at];
  if (!item.verdicts.size) return skip(session);
  session.stage.inert = true; // keys pressed before the response would be lost, or would apply to the next entity
  try {
    await request("v1/feedback", { method: "POST", body: correction(session, item) });
    item.problem = "";
    next(session, item);
  } catch (error) {
    item.problem = `not saved: ${error.message}`;
    draw(session);
  } finally {
    session.stage.inert = false;
  }
}

function correction(session, { entity, model, result, verdicts }) {
  const listed = result.labels.map((label) => label.label);
  const of = (value) => [...verdicts].filter(([, verdict]) => verdict === value).map(([label]) => label);
  const accepted = of("accept");
  return {
    key: randomKey(),
    reviewer: session.reviewer,
    entity,
    confirmed: accepted.filter((label) => listed.includes(label)),
    added: accepted.filter((label) => !listed.includes(label)),
    denied: of("reject"),
    shown: { model, labels: result.labels },
  };
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function next(session, saved) {
  session.saved[session.at] = saved;
  session.at += 1;
  draw(session);
}

function skip(session) {
  if (session.at < session.queue.length) next(session, null);
}

/** Go back to the previous entity; saving it again replaces the reviewer's earlier verdicts. */
function undo(session) {
  if (!session.at) return;
  session.at -= 1;
  draw(session);
}

function onKey(event, session) {
  const item = session.queue[session.at];
  if (!session.stage || session.stage.inert || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Enter" && event.target.closest("button")) return;
  const run = item ? actions(session, item)[event.key] : { u: () => undo(session) }[event.key];
  if (!run) return;
  event.preventDefault();
  run();
}

function actions(session, item) {
  const labels = choices(item);
  const move = (step) => () => {
    item.chosen = (item.chosen + step + labels.length) % labels.length;
    draw(session);
  };
  const set = (value) => () => {
    if (!labels.length) return;
    judge(item, labels[item.chosen], value);
    item.chosen = Math.min(item.chosen + 1, labels.length - 1);
    draw(session);
  };
  return {
    ArrowDown: move(1),
    ArrowUp: move(-1),
    j: move(1),
    k: move(-1),
    a: set("accept"),
    r: set("reject"),
    "+": () => document.getElementById("add").focus(),
    Enter: () => save(session),
    s: () => skip(session),
    u: () => undo(session),
  };
}
