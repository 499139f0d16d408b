// A few keys, and comments at lines. Every page works without it.
"use strict";

const all = (what) => [...document.querySelectorAll(what)];

function step(what, by, block = "start") {
  const found = all(what).filter((one) => !one.parentElement.closest("details:not([open])")); // what is folded is passed over
  const at = found.findIndex((one) => one.classList.contains("here"));
  const next = found[Math.min(found.length - 1, Math.max(0, at + by))];
  if (!next) return;
  found.forEach((one) => one.classList.remove("here"));
  next.classList.add("here");
  next.scrollIntoView({ block });
}

const LINES = ".diff tr.add button[data-at], .diff.split td.n.add button[data-at]";
function comment() {
  const button = document.querySelector("button[data-at].here");
  if (button && form) commentAt(button).focus();
}

function choose(value) {
  const choice = document.querySelector(`input[name=decision][value="${value}"]:not(:disabled)`);
  if (!choice) return;
  choice.checked = true;
  choice.focus();
  choice.closest("form").scrollIntoView({ block: "nearest" });
}

const KEYS = {
  j: () => step(".file", 1),
  k: () => step(".file", -1),
  n: () => step(".finding", 1),
  p: () => step(".finding", -1),
  l: () => step(LINES, 1, "center"),
  h: () => step(LINES, -1, "center"),
  m: comment,
  a: () => choose("approve"),
  c: () => choose("ask for changes"),
  r: () => choose("reject"),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("textarea, select, input:not([type=radio])");
  if (event.key === "Escape" && event.target.matches("textarea")) event.target.blur(); // keys are keys again
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" && event.target.matches("input[name=decision]")) {
    event.preventDefault();
    event.target.form.requestSubmit();
  } else if (Object.hasOwn(KEYS, event.key)) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

function commentAt(button) {
  const row = button.closest("tr");
  const known = all("textarea.at").find((one) => one.name === button.dataset.at);
  if (known) return known;
  const added = document.createElement("tr");
  const cell = document.createElement("td");
  const text = document.createElement("textarea");
  cell.colSpan = row.cells.length;
  text.className = "at";
  text.name = button.dataset.at;
  text.setAttribute("form", "answer");
  text.setAttribute("aria-label", button.getAttribute("aria-label"));
  cell.append(text);
  added.append(cell);
  row.after(added);
  return text;
}

const form = document.getElementById("answer");
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-at]");
  if (button && form) commentAt(button).focus();
  if (event.target.closest("a[data-keeps]") && form?.elements.mark) keep();
});

// The same change in one column or side by side is another page: what was typed for this question goes along, once.
function keep() {
  const typed = [...new FormData(form)].filter(([name]) => name === "comment" || name === "decision" || name.startsWith("at:"));
  sessionStorage.setItem(`typed ${form.elements.mark.value}`, JSON.stringify(typed));
}
if (form?.elements.mark) {
  const key = `typed ${form.elements.mark.value}`;
  for (const [name, value] of JSON.parse(sessionStorage.getItem(key) || "[]")) {
    const button = all("button[data-at]").find((one) => one.dataset.at === name);
    if (name === "decision") all("input[name=decision]").forEach((one) => { one.checked ||= one.value === value && !one.disabled; });
    else if (name === "comment") document.getElementById("comment").value = value;
    else if (button) commentAt(button).value = value;
  }
  sessionStorage.removeItem(key);
}

// That the page was shown, and that lines of the change were in view for a second, is noted once each: a team sees by it
// whether changes are read. It decides nothing. Pages that nobody sees, such as those a browser reads ahead, note nothing.
const answering = document.querySelector("form[data-looked]");
const noted = new Set();
function note(what) {
  if (!answering || noted.has(what) || document.prerendering || document.visibilityState !== "visible") return;
  noted.add(what);
  const told = { what, csrf: answering.elements.csrf.value, mark: answering.elements.mark.value };
  fetch(answering.dataset.looked, { method: "POST", body: new URLSearchParams(told), keepalive: true }).catch(() => noted.delete(what));
}
if (answering) {
  note("shown");
  for (const each of ["visibilitychange", "prerenderingchange"]) document.addEventListener(each, () => note("shown"));
  let since = 0; // the timer, while lines of any file are in view
  const inView = new Set();
  const watch = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) inView[isIntersecting ? "add" : "delete"](target);
    if (!inView.size) {
      clearTimeout(since);
      since = 0;
    } else if (!since) {
      since = setTimeout(() => { since = 0; note("opened"); }, 1000);
    }
  }, { rootMargin: "-25% 0px -25% 0px" }); // in the middle of the window, not below its edge
  all(".diff").forEach((one) => watch.observe(one));
}

// A task that goes on: the door says when something moved; then the page is read again, and what is new takes the place
// of what was there. Where there are too many such pages, it is read again by the clock.
const live = () => document.getElementById("live");
let reading = false, more = false, moves = null;

async function again() {
  more = reading;
  if (reading) return;
  reading = true;
  try {
    const answer = await fetch(location.href, { redirect: "manual" });
    if (answer.type === "opaqueredirect") return location.reload(); // nobody is signed in any more
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (answer.ok && found) {
      const open = all("#live details").map((one) => one.open);
      live().replaceWith(document.adoptNode(found));
      all("#live details").forEach((one, number) => { one.open = open[number] ?? one.open; });
    }
  } catch { /* the next time */ }
  reading = false;
  if (more) again();
}

function follow() {
  const goesOn = live() && "again" in live().dataset && !document.hidden;
  if (!goesOn) moves?.close();
  if (!goesOn || moves) return void (moves = goesOn ? moves : null);
  moves = new EventSource(`${location.pathname}/moves?seen=${encodeURIComponent(live().dataset.again)}`);
  moves.addEventListener("moved", again);
  moves.addEventListener("over", (event) => { event.target.close(); moves = null; again(); });
  moves.addEventListener("error", (event) => {
    if (event.target !== moves || moves.readyState !== EventSource.CLOSED) return; // else it comes again by itself
    moves = null;
    setTimeout(() => again().then(follow), 4000);
  });
}
document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => { moves?.close(); moves = null; });
addEventListener("pageshow", follow);
follow();

// A session has its own place below /desk, which only this browser knows; an address without it leads there.
document.querySelectorAll("[data-go]").forEach((link) => location.replace(link.href));
const desk = document.body.dataset.desk;
const next = document.querySelector("form[action='/desk/sign-in'] input[name=next]");
if (desk) {
  localStorage.setItem("desk", desk);
} else if (next && (localStorage.getItem("desk") || "").startsWith("/desk/at-")) {
  const known = localStorage.getItem("desk");
  localStorage.removeItem("desk"); // if that session is over, this page comes again
  location.replace(known + next.value.slice("/desk".length));
}

// A brief is judged while it is typed, by the rules of the run: what is wrong with a field that was touched stands there.
const lint = document.querySelector("form[data-lint]");
if (lint) {
  const touched = new Set();
  let soon = 0;
  const judge = async () => {
    const fields = [...new FormData(lint)].filter(([, value]) => typeof value === "string");
    const answer = await fetch(lint.dataset.lint, { method: "POST", body: new URLSearchParams(fields) }).catch(() => null);
    if (!answer?.ok) return;
    const wrong = await answer.json();
    for (const name of touched) {
      const field = document.getElementById(name);
      all(`[id="wrong-${name}"]`).forEach((one) => one.remove());
      const why = (wrong[name] || []).join(" ");
      field.toggleAttribute("aria-invalid", Boolean(why));
      if (!why) continue;
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", `wrong-${name}`);
      const told = document.createElement("p");
      told.className = "wrong";
      told.id = `wrong-${name}`;
      told.textContent = why;
      field.before(told);
    }
  };
  lint.addEventListener("input", (event) => {
    if (!event.target.name) return;
    touched.add(event.target.id || event.target.name);
    clearTimeout(soon);
    soon = setTimeout(judge, 500);
  });
  for (const place of all("[data-file-of]")) {
    place.hidden = false;
    place.querySelector("input").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      if (!file) return;
      const text = document.getElementById(place.dataset.fileOf);
      const path = document.getElementById("test_path");
      text.value = await file.text();
      target.value = ""; // else the same file, mended, would be no change
      path.value ||= `tests/acceptance/${file.name}`;
      for (const one of [path, text]) one.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
}

// What each environment says of its health now comes after the page, which waits for no service; and again while it is looked at.
const health = document.querySelector("[data-health]")?.dataset.health;
async function askHealth() {
  const shown = all(".now");
  if (!health || !shown.length || document.hidden) return;
  const answer = await fetch(health, { redirect: "manual" }).catch(() => null);
  if (answer?.type === "opaqueredirect") return location.reload(); // nobody is signed in any more
  const found = answer?.ok ? await answer.json() : [];
  for (const one of shown) {
    const { state, line } = found.find((each) => each.name === one.dataset.name && each.revision === one.dataset.revision)
      || { state: "not known", line: answer?.ok ? "something else serves by now: look at this page again" : "the desk did not answer" };
    one.className = `now ${state.replace(" ", "-")}`;
    one.querySelector("span").textContent = `${state}: ${line}`;
  }
}
askHealth();
if (health) {
  setInterval(askHealth, 15000);
  document.addEventListener("visibilitychange", askHealth);
}
