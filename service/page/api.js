// Requests to the API of the service.

const KEY = "labelwright-key";

/** An error response of the service. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The JSON response of a path; asks the user for a key if the service needs one. Throws Problem. */
export async function request(path, { method = "GET", body, signal, headers = {} } = {}) {
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
    return request(path, { method, body, signal, headers });
  }
  if (!response.ok) throw new Problem(response.status, await detailOf(response));
  return response.status === 204 ? null : response.json();
}

async function detailOf(response) {
  try {
    const { detail, title } = await response.json();
    return detail ?? title ?? `status ${response.status}`;
  } catch {
    return `the service responded with status ${response.status}`;
  }
}

let keyEntered = null;

/** Resolves when the user has entered a key; concurrent requests wait for the same dialog. */
function login() {
  keyEntered ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const field = document.getElementById("key");
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEY, field.value);
        field.value = "";
        keyEntered = null;
        resolve();
      },
      { once: true },
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.showModal();
  });
  return keyEntered;
}

let cached = null;

/** The model in service and its labels by name; the labels are requested once for each model. */
export async function modelAndLabels() {
  const model = await request("v1/model");
  if (cached?.model.content !== model.content) cached = { model, labels: await allLabels() };
  return { ...cached, model };
}

async function allLabels() {
  const labels = new Map();
  const lang = encodeURIComponent(navigator.language);
  for (let total = 1; labels.size < total; ) {
    const page = await request(`v1/labels?limit=1000&offset=${labels.size}&lang=${lang}`);
    for (const label of page.labels) labels.set(label.label, label);
    total = page.labels.length ? page.total : 0;
  }
  return labels;
}
