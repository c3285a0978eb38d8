"use strict";
// Parts of the form of an edit: a field with the place for what is wrong with it, and the keys that work.
(() => {
  const { element } = globalThis.conversations;

  function hint(keys) {
    const made = element("span", "keys faint");
    for (const [key, what] of keys) made.append(element("span", "", element("kbd", "", key), ` ${what}`));
    return made;
  }

  function field(kind, name, value) {
    const input = element(kind, "");
    const problem = element("p", "bad");
    const id = `review-${name[0]}`;
    input.value = value;
    input.spellcheck = false;
    if (kind === "textarea") input.rows = Math.min(8, value.split("\n").length + 1);
    problem.id = `${id}-problem`;
    problem.setAttribute("role", "alert");
    input.setAttribute("aria-describedby", problem.id);
    return {
      input,
      label: element("label", "", name, input, problem),
      mark(text) {
        problem.textContent = text;
        input.setAttribute("aria-invalid", String(Boolean(text)));
        if (text) input.focus();
      },
    };
  }

  globalThis.reviewForm = { field, hint };
})();
