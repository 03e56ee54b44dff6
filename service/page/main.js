// Navigation: the part of the URL after # selects the page.

import { request } from "./api.js";
import { h } from "./dom.js";
import * as model from "./model.js";
import * as review from "./review.js";
import * as trying from "./try.js";

const PAGES = { "/try": trying, "/review": review, "/model": model };
const main = document.getElementById("content");
let leave = () => {};

/** Each page has its own container: a page that the user left while it was loading cannot draw over the next page. */
function show() {
  const [path, query] = location.hash.slice(1).split("?");
  const page = PAGES[path] ?? trying;
  for (const link of document.querySelectorAll("nav a"))
    link.ariaCurrent = PAGES[link.hash.slice(1)] === page ? "page" : null;
  leave();
  const container = h("div");
  main.replaceChildren(container);
  const shown = page
    .show(container, new URLSearchParams(query ?? ""))
    .catch((error) => container.replaceChildren(h("p", { className: "problem", role: "alert" }, error.message)));
  leave = () => shown.then((stop) => stop?.());
}

async function showModelName() {
  const status = document.getElementById("serving");
  try {
    const { name, version } = await request("v1/model");
    status.textContent = name ? `${name}, version ${version}` : "a bundle without a name";
  } catch (error) {
    status.textContent = error.message;
  }
}

addEventListener("hashchange", show);
show();
showModelName();
