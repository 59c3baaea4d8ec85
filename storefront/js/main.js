/**
 * Where the page starts: reads its configuration and data, puts the parts together, and shows the view of each address.
 */

import { Api, readJson } from "./api.js";
import { Catalogue } from "./catalogue.js";
import { masthead } from "./components/masthead.js";
import { panel } from "./components/panel.js";
import { picker } from "./components/picker.js";
import { problemNotice } from "./components/problem.js";
import { focusOn, h } from "./dom.js";
import { Router, read, to } from "./router.js";
import { Shop } from "./shop.js";
import { cartView } from "./views/cart.js";
import { categoriesView } from "./views/categories.js";
import { categoryView } from "./views/category.js";
import { homeView } from "./views/home.js";
import { missingView } from "./views/missing.js";
import { productView } from "./views/product.js";
import { searchView } from "./views/search.js";

const VIEWS = {
  home: (shop) => homeView(shop),
  product: (shop, route) => productView(shop, route.value),
  category: (shop, route) => categoryView(shop, route.value),
  categories: (shop) => categoriesView(shop),
  search: (shop, route) => searchView(shop, route.query.get("q") ?? ""),
  cart: (shop) => cartView(shop),
  missing: () => missingView(),
};

const main = document.getElementById("main");
const notices = document.getElementById("notices");

/** The view that stands, and the address it stands for. */
const standing = { view: null, route: null, submitted: false };

function name(shop, view) {
  document.title = `${view.title} · ${shop.config.shop || "Shop"}`;
}

function show(shop, header, route, how) {
  const view = VIEWS[route.view](shop, route);
  const inSearch = document.activeElement === document.getElementById("question") && route.view === "search";
  const typing = inSearch && !standing.submitted;
  Object.assign(standing, { view, route, submitted: false });
  main.replaceChildren(view.node);
  name(shop, view);
  header.at(route);
  if ((how === "forward" || how === "traverse") && !typing) focusOn(main.querySelector("h1"));
  void view.start(how);
}

function searched(shop, question, submitted) {
  const address = to.search(question);
  if (standing.route?.view === "search") {
    shop.router.replace(address);
    if (submitted) focusOn(main.querySelector("h1"));
    standing.route = read(address);
    standing.view.title = standing.view.update(question);
    name(shop, standing.view);
  } else if (submitted || question.trim()) {
    standing.submitted = submitted;
    location.hash = address;
  }
}

async function readCatalogue(shop, header, redraw) {
  notices.replaceChildren();
  try {
    shop.catalogue = new Catalogue(await readJson("data/catalogue.json"));
    header.aisles();
    if (redraw) redraw();
  } catch (problem) {
    problem.title = `The catalogue is missing: ${problem.title.toLowerCase()}`;
    notices.replaceChildren(problemNotice(problem, () => readCatalogue(shop, header, redraw ?? again(shop, header))));
  }
}

const again = (shop, header) => () => show(shop, header, read(location.hash), "again");

async function open() {
  main.replaceChildren(h("div", { class: "view opening", "aria-hidden": "true" }, h("p", { class: "bone bone-title" }), h("p", { class: "bone" })));
  let config;
  try {
    config = await readJson("data/config.json");
  } catch (problem) {
    main.replaceChildren(h("h1", { text: "The shop could not open" }), problemNotice(problem, open));
    return;
  }
  const shop = new Shop(config, new Api(config));
  const header = masthead(shop, { search: (question, submitted) => searched(shop, question, submitted) });
  await readCatalogue(shop, header, null);
  panel(shop, document.getElementById("panel"));
  picker(shop, {
    dialog: document.getElementById("picker"),
    button: document.getElementById("who"),
    shoppers: () => readJson("data/shoppers.json"),
    chosen: again(shop, header),
  });
  shop.addEventListener("react", ({ detail }) => void standing.view?.react(detail));
  shop.queue.addEventListener("refused", ({ detail }) => notices.replaceChildren(problemNotice(detail.problem, () => notices.replaceChildren())));
  shop.router = new Router((route, how) => show(shop, header, route, how));
  await shop.router.start();
  void shop.queue.flush();
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  focusOn(main);
  main.scrollIntoView({ block: "start" });
});

void open();
