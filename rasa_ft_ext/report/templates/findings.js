"use strict";
// The findings of the checks: search and filters over all of them, and the way from a place to its conversation.
(() => {
  const at = (name) => document.getElementById(`findings-${name}`);
  const form = at("form"); // only where there are many findings
  const before = new Map([...at("groups").querySelectorAll("details")].map((of) => [of, of.open]));
  const groups = [...at("groups").querySelectorAll("details.group")].map((group) => ({
    group,
    more: group.querySelector("details.more"),
    rows: [...group.querySelectorAll("tbody tr")].map((row) => ({ row, text: row.textContent.toLowerCase() })),
  }));
  const total = groups.reduce((sum, of) => sum + of.rows.length, 0);

  function changed() {
    const needle = at("search").value.trim().toLowerCase();
    const [severity, kind] = [at("severity").value, at("kind").value];
    const filtered = Boolean(needle || severity || kind);
    let found = 0;
    for (const { group, more, rows } of groups) {
      const fits = (!severity || group.dataset.severity === severity) && (!kind || group.dataset.kind === kind);
      let shown = 0, folded = 0;
      for (const { row, text } of rows) {
        row.hidden = !(fits && text.includes(needle));
        if (row.hidden) continue;
        shown += 1;
        if (more && more.contains(row)) folded += 1;
      }
      found += shown;
      group.hidden = shown === 0;
      group.open = filtered ? shown > 0 : before.get(group);
      if (!more) continue;
      more.hidden = folded === 0;
      more.open = needle ? true : before.get(more);
    }
    const number = (value) => value.toLocaleString("en");
    at("status").textContent = filtered ? `${number(found)} of ${number(total)} findings` : `All ${number(total)} findings`;
  }

  // Shows the conversation that a finding is about; without script the link leads to all conversations.
  function follow(event) {
    const link = event.target.closest("a[data-test]");
    const browse = document.getElementById("browse-form");
    if (!link || !browse) return;
    browse.querySelectorAll("select").forEach((select) => { select.value = ""; });
    document.getElementById("browse-file").value = link.dataset.file;
    const search = document.getElementById("browse-search");
    search.value = link.dataset.test;
    search.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => search.focus({ preventScroll: true })); // the browser goes to the link's target first
  }

  at("groups").addEventListener("click", follow);
  if (form) {
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    at("status").hidden = false;
  }
})();
