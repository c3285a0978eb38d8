"use strict";
// Accept, reject and edit beside every message and rephrasing of the page that `rasa-ft review` serves. What is decided
// is in the file before the server answers; only then the page shows it. Texts go in as text nodes, never as markup.
(() => {
  const { rows, element, ...page } = globalThis.conversations;
  const { field, hint } = globalThis.reviewForm;
  const { token, header, file } = JSON.parse(document.getElementById("review-data").textContent);
  const open = rows.filter((row) => row.one.do); // what can be decided about
  const byName = new Map(open.map((row) => [nameOf(row), row]));
  const KEYS = [["a", "accept"], ["r", "reject"], ["e", "edit"], ["u", "undo"], ["j", "next"], ["k", "previous"]];
  const DONE = { accept: "Accepted", reject: "Rejected", edit: "Edited" };
  const list = document.getElementById("browse-list");
  const progress = element("strong", "");
  const said = element("span", "said");
  const misfits = element("details", "misfits");
  const rowOf = new WeakMap(); // of what stands in the list
  const shown = new WeakMap(); // what stands in the list of a row
  let current = null;
  let saving = Promise.resolve(); // one decision after the other, so that each knows what it replaces

  function nameOf({ test, turn, one }) {
    return JSON.stringify([`${test.file}::${test.name}`, test.turns.indexOf(turn) + 1, one === turn ? null : one.say]);
  }

  function number(value) {
    return value.toLocaleString("en");
  }

  async function ask(method, body) {
    let response;
    try {
      response = await fetch("/decisions", {
        method,
        headers: { [header]: token, ...(body ? { "Content-Type": "application/json" } : {}) },
        body: body && JSON.stringify(body),
      });
    } catch {
      throw new Error("Not saved: the server does not answer. Start `rasa-ft review` again and reload the page.");
    }
    const answer = await response.json();
    if (response.ok) return answer;
    throw Object.assign(new Error(answer.error), { status: response.status, field: answer.field });
  }

  // Takes over what the file says now.
  async function load() {
    const { decided, misfits: others } = await ask("GET");
    for (const { one } of open) {
      delete one.review;
      delete one.left; // follows from what was decided before
    }
    for (const { test, turn, rephrasing, entry, why } of decided) {
      const row = byName.get(JSON.stringify([test, turn, rephrasing]));
      if (row) take(row, entry, why);
    }
    misfits.hidden = others.length === 0;
    misfits.replaceChildren(
      element("summary", "", `${number(others.length)} of the decisions ${others.length === 1 ? "does" : "do"} not fit`),
      ...others.map((text) => element("p", "", text)),
    );
    count();
    page.show();
  }

  function take(row, entry, why) {
    if (entry) row.one.review = { ...entry, entry, ...(why ? { why } : {}) };
    else delete row.one.review;
  }

  function count() {
    page.decided();
    const done = open.filter((row) => row.one.review && row.one.review.why === undefined).length;
    progress.textContent = `${number(done)} of ${number(open.length)} decided`;
  }

  function say(text, isBad = false) {
    said.className = isBad ? "said bad" : "said";
    said.textContent = text;
  }

  // Rows of the page: buttons, and the one that keys are for.

  function decorate(row, node) {
    if (!row.one.do) return;
    rowOf.set(node, row);
    shown.set(row, node);
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", `${row.one === row.turn ? "message" : "rephrasing"}: ${row.one.say}`);
    node.tabIndex = -1;
    const state = row.one.review && row.one.review.why === undefined ? row.one.review.decision : null;
    const buttons = element("div", "review-buttons");
    for (const [key, what] of KEYS.slice(0, row.one.review ? 4 : 3)) {
      const button = element("button", "", what[0].toUpperCase() + what.slice(1));
      button.type = "button";
      button.dataset.what = what;
      button.setAttribute("aria-keyshortcuts", key);
      if (what !== "undo") button.setAttribute("aria-pressed", String(state === what));
      button.addEventListener("click", () => act(what, row, false));
      buttons.append(button);
    }
    node.append(buttons);
    node.classList.toggle("current", row === current);
  }

  function nodeOf(row) {
    const node = shown.get(row);
    return node && node.isConnected ? node : null;
  }

  function onPage() {
    return [...list.querySelectorAll(".wording")].map((node) => rowOf.get(node)).filter(Boolean);
  }

  function choose(row, isFocused = true) {
    for (const node of list.querySelectorAll(".current")) node.classList.remove("current");
    current = row;
    const node = row && nodeOf(row);
    if (!node) return;
    node.classList.add("current");
    if (isFocused) node.focus();
  }

  function move(by) {
    const all = onPage();
    const at = all.indexOf(current);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
    if (next) choose(next);
    else if (page.turnTo(by)) choose(onPage().at(by > 0 ? 0 : -1));
    else say(by > 0 ? "This is the last one." : "This is the first one.");
  }

  // Writes a row anew, in its place; the button that was pressed keeps the focus.
  function restate(row) {
    const node = nodeOf(row);
    if (!node) return;
    const inside = node.contains(document.activeElement) ? document.activeElement : null;
    const fresh = page.wording(row);
    node.replaceWith(fresh);
    if (!inside) return;
    const button = inside.dataset.what && fresh.querySelector(`button[data-what="${inside.dataset.what}"]`);
    (button || fresh).focus();
  }

  // Decisions.

  function act(what, row, isByKey) {
    if (!mayLeave()) return;
    closeForm();
    choose(row, isByKey);
    if (what === "edit") edit(row);
    else save(row, { decision: what === "undo" ? null : what }, isByKey && what !== "undo");
  }

  function save(row, decided, isGoingOn) {
    if (isGoingOn) move(1);
    saving = saving.then(() => send(row, decided));
    return saving;
  }

  // Sends one decision; gives what is wrong with it, or null.
  async function send(row, decided) {
    const [test, turn, rephrasing] = JSON.parse(nameOf(row));
    const before = row.one.review ? row.one.review.entry : null;
    const about = { test, turn, message: row.turn.say, rephrasing, seen: before };
    const kept = { commands: "", text: null, note: before && before.note ? before.note : "" };
    let answer;
    try {
      answer = await ask("POST", { ...about, ...kept, ...decided });
    } catch (error) {
      if (error.status === 409) await load().catch((again) => say(again.message, true));
      if (!error.field) say(error.message, true);
      return error;
    }
    take(row, answer.decided && answer.decided.entry);
    count();
    restate(row);
    const done = answer.decided ? DONE[answer.decided.entry.decision] : "Open again";
    say(`${done}: “${row.one.say.length > 60 ? `${row.one.say.slice(0, 60)}…` : row.one.say}”${after(row)}`);
    return null;
  }

  // What the decision on a message does to those of its rephrasings on which nobody decided.
  function after(row) {
    const verdict = row.one === row.turn && row.one.review ? row.one.review.decision : "accept";
    const many = (row.turn.re || []).filter((one) => !one.review && one.why === undefined).length;
    if (verdict === "accept" || !many) return "";
    const what = many === 1 ? "its undecided rephrasing" : `its ${number(many)} undecided rephrasings`;
    return verdict === "reject" ? `, and ${what} with it` : `; ${what} must have the new label, too`;
  }

  // The form of an edit.

  function edit(row, typed) {
    const node = nodeOf(row);
    if (!node) return;
    const isMessage = row.one === row.turn;
    const before = typed || (row.one.review && row.one.review.entry) || {};
    const ofMessage = (row.turn.review && row.turn.review.decision === "edit" && row.turn.review.commands) || "";
    const own = row.commands.map((of) => of.text).join("\n");
    const commands = field("textarea", "Commands, one a line", before.commands || (isMessage ? own : ofMessage || own));
    const text = isMessage ? null : field("textarea", "Text", before.text || row.one.say);
    const note = field("input", "Note, for people", before.note || "");
    const form = element("form", typed ? "review-form typed" : "review-form");
    const submit = element("button", "primary", "Save");
    const cancel = element("button", "", "Cancel");
    cancel.type = "button";
    form.append(...[text, commands, note].filter(Boolean).map((of) => of.label));
    form.append(element("div", "", submit, " ", cancel, " ", hint([["Ctrl+Enter", "saves"], ["Esc", "cancels"]])));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      const wanted = { commands: commands.input.value, text: text ? text.input.value : null, note: note.input.value };
      const error = await save(row, { decision: "edit", ...wanted }, false);
      submit.disabled = false;
      if (!error) leave(row);
      else if (!form.isConnected) edit(row, wanted); // the list was written anew: nothing that was typed is lost
      else {
        for (const of of [commands, text].filter(Boolean)) of.mark("");
        (error.field === "text" ? text : commands).mark(error.message);
      }
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") leave(row);
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      else return;
      event.preventDefault();
    });
    form.addEventListener("input", () => form.classList.add("typed"));
    cancel.addEventListener("click", () => leave(row));
    node.after(form);
    commands.input.focus();
  }

  function leave(row) {
    closeForm();
    choose(row);
  }

  // Whether nothing that was typed would be lost; where it would, that is shown.
  function mayLeave() {
    const typed = list.querySelector(".review-form.typed textarea");
    if (typed) {
      say("Save or cancel this edit first.", true);
      typed.focus();
    }
    return !typed;
  }

  function closeForm() {
    for (const form of list.querySelectorAll(".review-form")) form.remove();
  }

  // The bar above the list.

  function keyPressed(event) {
    if (event.key === "Enter" && event.target.id === "browse-search") choose(onPage()[0]);
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const what = (KEYS.find(([key]) => key === event.key) || [])[1];
    if (!what) return;
    event.preventDefault();
    if (what === "next" || what === "previous") {
      if (!mayLeave()) return;
      closeForm();
      move(what === "next" ? 1 : -1);
    } else if (current && nodeOf(current)) act(what, current, true);
    else move(1);
  }

  const bar = element("div", "review-bar", progress, hint(KEYS), said);
  bar.setAttribute("role", "region");
  bar.setAttribute("aria-label", "Review");
  said.setAttribute("role", "status");
  said.setAttribute("aria-live", "polite");
  misfits.hidden = true;
  list.before(element("p", "faint review-file", "Decisions are kept in ", element("code", "", file),
    "; the examples are made with them when the data is made again."), misfits, bar);
  list.addEventListener("focusin", (event) => {
    const row = rowOf.get(event.target.closest(".wording"));
    if (row && row !== current) choose(row, false);
  });
  document.addEventListener("keydown", keyPressed);
  list.classList.add("reviewing");
  globalThis.conversations.decorate = decorate;
  load().catch((error) => {
    page.show();
    say(error.message, true);
  }).then(() => {
    if (!location.hash) document.getElementById("browse").scrollIntoView();
  });
})();
