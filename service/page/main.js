// Which page is shown: the part of the link after #.

import { ask } from "./api.js";
import { h } from "./dom.js";
import * as model from "./model.js";
import * as review from "./review.js";
import * as trying from "./try.js";

const PAGES = { "/try": trying, "/review": review, "/model": model };
const main = document.getElementById("content");
let leave = () => {};

/** Each page draws into a place of its own: one that is late and was left draws where nobody looks. */
function show() {
  const [path, query] = location.hash.slice(1).split("?");
  const page = PAGES[path] ?? trying;
  for (const link of document.querySelectorAll("nav a"))
    link.ariaCurrent = PAGES[link.hash.slice(1)] === page ? "page" : null;
  leave();
  const place = h("div");
  main.replaceChildren(place);
  const shown = page
    .show(place, new URLSearchParams(query ?? ""))
    .catch((error) => place.replaceChildren(h("p", { className: "problem", role: "alert" }, error.message)));
  leave = () => shown.then((stop) => stop?.());
}

async function tellServing() {
  const status = document.getElementById("serving");
  try {
    const { name, version } = await ask("v1/model");
    status.textContent = name ? `${name}, version ${version}` : "a bundle without a name";
  } catch (error) {
    status.textContent = error.message;
  }
}

addEventListener("hashchange", show);
show();
tellServing();
