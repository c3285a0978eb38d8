"use strict";
// The conversations of the report: search, filters and pages over all wordings. Only the rows of one page are ever in
// the document. Texts of users go into it as text nodes and never as markup.
(() => {
  const ROWS = 100; // of a page
  const KINDS = {
    message: "messages of the tests",
    passing: "passing rephrasings",
    failing: "failing rephrasings",
    unlearned: "messages without commands to learn",
  };
  const SIGNS = { message: "user", passing: "✓ passes", failing: "✗ fails", unlearned: "user" };
  const STATES = { accept: "accepted", reject: "rejected", edit: "edited" }; // what a person decided in the review
  const DECIDED = { accept: "✓ accepted", reject: "✗ rejected", edit: "✎ edited" };
  const ORDERS = { kind: Object.values(KINDS), review: ["undecided", ...Object.values(STATES)] };
  const at = (name) => document.getElementById(`browse-${name}`);
  const { commands, tests } = JSON.parse(at("data").textContent);
  const rows = tests.flatMap((test) => test.turns.flatMap((turn) => rowsOf(test, turn)));
  const selects = [...at("form").querySelectorAll("select")];
  let found = rows;
  let page = 0;
  let only = null; // the one test that is shown, whatever the filters say
  let returnTo = 0; // the page to go back to from it

  function rowsOf(test, turn) {
    const kind = turn.do ? "message" : "unlearned";
    const others = (turn.re || []).map((one) => rowOf(test, turn, one, one.why === undefined ? "passing" : "failing"));
    return [rowOf(test, turn, turn, kind), ...others];
  }

  function rowOf(test, turn, one, kind) {
    const all = (one.do || []).map((index) => commands[index]);
    const about = [one.say, one.why, one.problem, one.left, one.by, one.first, test.name, test.file, ...all.map((of) => of.text)];
    return {
      test, turn, one, kind, commands: all,
      text: about.concat(one.bot || []).filter(Boolean).join("\n").toLowerCase(),
      by: {
        kind: [KINDS[kind]],
        side: [test.side || "in no example"],
        command: unique(all.map((of) => of.type)),
        flow: unique(all.map((of) => of.flow).filter((name) => name !== null)),
        slot: unique(all.map((of) => of.slot).filter((name) => name !== null)),
        reason: one.why === undefined ? [] : [kind === "failing" ? one.why.split(":")[0] : one.why],
        file: [test.file],
        review: one.do ? [stateOf(one)] : [],
      },
    };
  }

  function stateOf(one) {
    return one.review && one.review.why === undefined ? STATES[one.review.decision] : "undecided";
  }

  function unique(values) {
    return [...new Set(values)];
  }

  function number(value) {
    return value.toLocaleString("en");
  }

  function element(name, className, ...content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    made.append(...content);
    return made;
  }

  // A text with what was searched for in it marked.
  function marked(text) {
    const needle = only ? "" : searched();
    const parts = document.createDocumentFragment();
    const low = text.toLowerCase();
    if (!needle || low.length !== text.length) { // a letter that is two in lower case would move the marks
      parts.append(text);
      return parts;
    }
    let from = 0;
    for (let to = low.indexOf(needle); to >= 0; to = low.indexOf(needle, from)) {
      parts.append(text.slice(from, to), element("mark", "", text.slice(to, to + needle.length)));
      from = to + needle.length;
    }
    parts.append(text.slice(from));
    return parts;
  }

  function searched() {
    return at("search").value.trim().toLowerCase();
  }

  function fillChoices() {
    at("review").parentElement.hidden = !script.decorate && rows.every((row) => !row.one.review);
    for (const select of selects) {
      const chosen = select.value;
      const counts = new Map();
      for (const row of rows) {
        for (const value of row.by[select.dataset.by]) counts.set(value, (counts.get(value) || 0) + 1);
      }
      const order = ORDERS[select.dataset.by] || [...counts.keys()].sort();
      select.replaceChildren(new Option("all", ""));
      for (const value of order.filter((name) => counts.has(name))) {
        select.append(new Option(`${value} (${number(counts.get(value))})`, value));
      }
      select.value = counts.has(chosen) ? chosen : "";
      select.disabled = counts.size === 0;
    }
  }

  function filter() {
    const chosen = selects.filter((select) => select.value);
    for (const select of selects) select.classList.toggle("chosen", Boolean(select.value));
    const needle = searched();
    found = only
      ? rows.filter((row) => row.test === only)
      : rows.filter((row) => row.text.includes(needle) && chosen.every((of) => row.by[of.dataset.by].includes(of.value)));
    page = 0;
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    const first = page * ROWS;
    const shown = found.slice(first, first + ROWS);
    at("list").replaceChildren(...articles(shown));
    const range = shown.length ? `${number(first + 1)} to ${number(first + shown.length)} of ` : "";
    const whole = found.length === rows.length ? "" : `, ${number(rows.length)} in all`;
    at("status").textContent = only
      ? `One whole conversation: ${only.name}`
      : found.length ? `Rows ${range}${number(found.length)}${whole}` : `Nothing fits; there are ${number(rows.length)} rows.`;
    at("back").hidden = only === null;
    at("previous").disabled = page === 0;
    at("next").disabled = page + 1 >= pages;
    at("page").textContent = `page ${number(page + 1)} of ${number(pages)}`;
    at("page").parentElement.hidden = pages === 1;
  }

  function articles(shown) {
    const made = [];
    let article, block, last = null;
    for (const row of shown) {
      if (!last || last.test !== row.test) made.push(article = articleOf(row.test));
      if (!last || last.turn !== row.turn) {
        article.append(block = element("div", "turn"));
        if (row.one !== row.turn) block.append(contextOf(row));
      }
      block.append(...wording(row));
      last = row;
    }
    return made;
  }

  function articleOf(test) {
    const about = element("span", "faint", marked(test.file), test.side ? `, ${test.side}` : ", in no example");
    const head = element("header", "", element("h3", "", marked(test.name)), about);
    if (!only) {
      const button = element("button", "", "Whole conversation");
      button.type = "button";
      button.addEventListener("click", () => open(test));
      head.append(button);
    }
    const article = element("article", "", head);
    if (test.problem) article.append(element("p", "bad", test.problem));
    return article;
  }

  // What a rephrasing rephrases, where that is not itself among the rows.
  function contextOf(row) {
    return element("div", "context faint", "of: ", element("bdi", "", row.turn.say));
  }

  function wording(row) {
    const { one, kind } = row;
    const what = element("div", "do");
    const same = kind === "passing" && String(one.do) === String(row.turn.do);
    if (same) what.append(element("span", "faint", "the same commands"));
    else row.commands.forEach((of) => what.append(element("code", "", marked(of.text))));
    if (!row.commands.length && one.do) what.append(element("span", "faint", "no commands"));
    if (one.why !== undefined) what.append(element("div", "why", marked(one.why)));
    if (one.problem) what.append(element("div", "why", marked(one.problem)));
    if (one.left) what.append(element("div", "why", marked(`left out: ${one.left}`)));
    if (one.by) what.append(element("div", "faint rows", `made by ${one.by}`));
    if (one.rows) {
      const many = one.rows === 1 ? "1 example" : `${number(one.rows)} examples`;
      what.append(element("div", "faint rows", one.first ? `${many}: ${one.first}${one.rows > 1 ? " …" : ""}` : many));
    }
    const said = element("div", "say", element("bdi", "", marked(one.say)));
    if (one.review) what.append(decidedOf(one.review));
    const made = [element("div", `wording ${kind}`, element("div", "kind", SIGNS[kind]), said, what)];
    if (script.decorate) script.decorate(row, made[0]);
    for (const text of one.bot || []) made.push(element("div", "bot", marked(text)));
    return made;
  }

  // What a person decided, and what it makes of the wording.
  function decidedOf({ decision, text, commands: lines, note, why }) {
    const made = element("div", `decided ${decision}`, DECIDED[decision]);
    if (text) made.append(" “", element("bdi", "", text), "”");
    if (decision === "edit" && lines) made.append(...lines.split("\n").map((line) => element("code", "", line)));
    if (note) made.append(element("div", "faint", note));
    if (why) made.append(element("div", "why", `not applied: ${why}`));
    return made;
  }

  function open(test) {
    [only, returnTo] = [test, page];
    filter();
    show();
    at("back").focus();
    at("app").scrollIntoView();
  }

  function back() {
    const test = only;
    only = null;
    filter();
    page = Math.min(returnTo, Math.max(0, Math.ceil(found.length / ROWS) - 1));
    show();
    const place = [...at("list").querySelectorAll("article")][unique(found.slice(page * ROWS, (page + 1) * ROWS)
      .map((row) => row.test)).indexOf(test)];
    (place ? place.querySelector("button") : at("search")).focus();
  }

  function turnTo(next) {
    page = next;
    show();
    at("status").scrollIntoView();
  }

  function changed() {
    only = null;
    filter();
    show();
  }

  // What the script of the review may use; the page of the report has none, and does without.
  const script = {
    rows,
    element,
    show,
    wording: (row) => wording(row)[0],
    turnTo(by) {
      const pages = Math.ceil(found.length / ROWS);
      if (page + by < 0 || page + by >= pages) return false;
      turnTo(page + by);
      return true;
    },
    // Takes over what was decided of rows.
    decided() {
      for (const row of rows) if (row.one.do) row.by.review = [stateOf(row.one)];
      fillChoices();
    },
    decorate: null,
  };
  globalThis.conversations = script;

  at("form").addEventListener("input", changed);
  at("form").addEventListener("reset", () => setTimeout(changed)); // the fields are empty only afterwards
  at("form").addEventListener("submit", (event) => event.preventDefault());
  at("back").addEventListener("click", back);
  at("previous").addEventListener("click", () => turnTo(page - 1));
  at("next").addEventListener("click", () => turnTo(page + 1));
  fillChoices();
  show();
  at("unscripted").remove();
  at("app").hidden = false;
})();
