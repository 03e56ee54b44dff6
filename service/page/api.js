// The service, as this page asks it.

const KEY = "labelwright-key";

/** What the service says is wrong. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The JSON that a path answers; asks for a key where one is needed. Throws Problem. */
export async function ask(path, { method = "GET", body, signal, headers = {} } = {}) {
  const key = sessionStorage.getItem(KEY);
  const response = await fetch(path, {
    method,
    signal,
    headers: {
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(key ? { authorization: `Bearer ${key}` } : {}),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 401) {
    await login();
    return ask(path, { method, body, signal, headers });
  }
  if (!response.ok) throw new Problem(response.status, await detailOf(response));
  return response.status === 204 ? null : response.json();
}

async function detailOf(response) {
  try {
    const { detail, title } = await response.json();
    return detail ?? title ?? `status ${response.status}`;
  } catch {
    return `the service answered with status ${response.status}`;
  }
}

let asking = null;

/** Resolves when a key was entered; all who need one wait for the same dialog. */
function login() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const field = document.getElementById("key");
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEY, field.value);
        field.value = "";
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
  });
  return asking;
}

let known = null;

/** The model and all its labels by name, read once for each version that serves. */
export async function serving() {
  const model = await ask("v1/model");
  if (known?.model.content !== model.content) known = { model, labels: await allLabels() };
  return { ...known, model };
}

async function allLabels() {
  const labels = new Map();
  const lang = encodeURIComponent(navigator.language);
  for (let total = 1; labels.size < total; ) {
    const page = await ask(`v1/labels?limit=1000&offset=${labels.size}&lang=${lang}`);
    for (const label of page.labels) labels.set(label.label, label);
    total = page.labels.length ? page.total : 0;
  }
  return labels;
}
