"use strict";
// Makes the page quick: opens requests without reloading, shows changes as they come, listens to keys, counts down.
// All HTML comes rendered and escaped from the server; this file only puts it in place. Nothing here decides by one key alone.

const $ = (selector, within = document) => within.querySelector(selector);
const queue = $("#queue");
const pane = $("#approval");
const fragment = (html) => { const t = document.createElement("template"); t.innerHTML = html; return t.content; };
const announce = (text) => { $("#announce").textContent = text; };

async function get(url, options = {}) {
  const response = await fetch(url, { ...options, headers: { Accept: "text/html", ...options.headers } });
  if (response.status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
  const type = response.headers.get("Content-Type") || "";
  if (!response.ok && !type.startsWith("text/html")) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || "The server answered " + response.status + ".");
  }
  return response;
}

function failed(error, place = pane) {
  const box = document.createElement("p");
  box.className = "notice bad";
  box.setAttribute("role", "alert");
  box.textContent = error instanceof TypeError ? "The server cannot be reached. Is it running?" : error.message;
  $(".notice.bad[data-passing]", place)?.remove();
  box.dataset.passing = "";
  place.prepend(box);
}

// ---- one request ----------------------------------------------------------------------------------------------------

const shown = () => $("article", pane)?.dataset.id || "";
const row = (id) => $('.ask[data-id="' + CSS.escape(id) + '"]', queue);
let latest = 0;

function mark(id) {
  $("a[aria-current]", queue)?.removeAttribute("aria-current");
  const link = $("a", row(id) || document.createElement("li"));
  link?.setAttribute("aria-current", "true");
  link?.scrollIntoView({ block: "nearest" });
}

async function open(id, push = true) {
  const mine = ++latest;
  mark(id);
  try {
    const html = await (await get("/ui/approvals/" + encodeURIComponent(id))).text();
    if (mine !== latest) return;
    pane.replaceChildren(fragment(html));
    keepAnswer(id);
    if (push) history.pushState(null, "", "/approvals/" + encodeURIComponent(id) + "?state=" + queue.dataset.state);
    tick();
    announce($("h1", pane).textContent.replace(/\s+/g, " ").trim());
  } catch (error) {
    if (mine === latest) failed(error);
  }
}

// The answer to a decision stays when the request is drawn again, which its own change makes happen a second later.
let answered = null;
function keepAnswer(id) {
  if (answered?.dataset.id === id) $("article > header", pane)?.after(answered); else answered = null;
}

function move(step) {
  const rows = [...queue.children];
  if (!rows.length) return;
  const at = rows.findIndex((item) => $("a[aria-current]", item));
  open(rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))].dataset.id);
}

queue.addEventListener("click", (event) => {
  const item = event.target.closest(".ask");
  if (!item || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(item.dataset.id).then(() => pane.focus({ preventScroll: true }));
});
addEventListener("popstate", () => location.reload());

// ---- deciding -------------------------------------------------------------------------------------------------------

function arm(answer) {
  const form = $(".decide", pane);
  if (!form) return announce("You cannot decide on this.");
  form.dataset.armed = answer;
  for (const button of form.querySelectorAll("button")) button.classList.toggle("armed", button.value === answer);
  $("#armed", form).textContent = "Enter " + (answer === "yes" ? "approves" : "denies") + ", Esc leaves";
  $("#reason", form).focus();
}

function disarm() {
  const form = $(".decide", pane);
  if (!form) return;
  delete form.dataset.armed;
  $("#armed", form).textContent = "";
  for (const button of form.querySelectorAll("button")) button.classList.remove("armed");
  $("#reason", form).blur();
}

pane.addEventListener("keydown", (event) => {
  if (event.target.id !== "reason") return;
  const form = event.target.form;
  if (event.key === "Escape") { disarm(); event.stopPropagation(); }
  else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && form.dataset.armed) {
    event.preventDefault();
    form.requestSubmit($('button[value="' + form.dataset.armed + '"]', form));
  }
});

pane.addEventListener("submit", async (event) => {
  const form = event.target.closest(".decide");
  if (!form) return;
  event.preventDefault();
  const answer = event.submitter?.value;
  const reason = $("#reason", form).value.trim();
  if (answer === "no" && !reason) {
    failed(new Error("Say why: the one who asked reads the reason of a denial."), form);
    arm("no");
    return;
  }
  const buttons = [...form.querySelectorAll("button")];
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const body = new URLSearchParams({ approved: answer, reason });
    const response = await get(form.action, { method: "POST", body, headers: { "X-Fragment": "1" } });
    ++latest;
    pane.replaceChildren(fragment(await response.text()));
    answered = $(".notice.good", pane);
    if (answered) answered.dataset.id = shown();
    tick();
    announce($(".notice.good, [role=alert]", pane)?.textContent.trim() || "");
    pane.focus({ preventScroll: true });
  } catch (error) {
    buttons.forEach((button) => { button.disabled = false; });
    failed(error, form);
  }
});

// ---- changes as they come -------------------------------------------------------------------------------------------

const live = $("#live");
const stream = new EventSource("/ui/approvals/stream?state=" + queue.dataset.state);
stream.onopen = () => { live.classList.remove("broken"); $("#live-text").textContent = "Live"; };
stream.onerror = () => { live.classList.add("broken"); $("#live-text").textContent = "Not live"; };
stream.addEventListener("problem", (event) => { stream.close(); stream.onerror(); announce(JSON.parse(event.data).detail); });
stream.onmessage = (event) => {
  const { id, here, html } = JSON.parse(event.data);
  const old = row(id);
  const current = old && $("a[aria-current]", old);
  if (here) {
    const fresh = fragment(html).firstElementChild;
    if (old) old.replaceWith(fresh); else { fresh.classList.add("fresh"); queue.prepend(fresh); announce("New: " + fresh.textContent.replace(/\s+/g, " ").trim()); }
    if (current || id === shown()) mark(id);
  } else {
    old?.remove();
  }
  const some = queue.children.length > 0;
  $("#empty").hidden = some;
  document.querySelectorAll("#approval > .empty").forEach((note) => { note.hidden = note.classList.contains("none") === some; });
  title();
  tick();
  // What somebody is writing is not taken from under them: then only the state is told.
  if (id === shown() && !$("#reason", pane)?.value) open(id, false);
};

function title() {
  const open = queue.dataset.state === "open" ? queue.children.length : 0;
  document.title = (open ? "(" + open + ") " : "") + "Approvals · Affidavit";
}

$("#more").addEventListener("click", async (event) => {
  event.preventDefault();
  const link = event.currentTarget;
  try {
    const response = await get("/ui/approvals?state=" + queue.dataset.state + "&cursor=" + encodeURIComponent(link.dataset.cursor));
    queue.append(fragment(await response.text()));
    link.dataset.cursor = response.headers.get("X-Next-Cursor");
    link.hidden = !link.dataset.cursor;
    tick();
  } catch (error) {
    announce(error.message);
  }
});

// ---- counting down --------------------------------------------------------------------------------------------------

function tick() {
  for (const at of document.querySelectorAll("time[data-until]")) {
    const seconds = Math.round(Number(at.dataset.until) / 1e6 - Date.now() / 1000);
    const minutes = Math.floor(seconds / 60);
    at.textContent = seconds <= 0 ? "expired" : minutes >= 120 ? Math.floor(minutes / 60) + " h left"
      : minutes ? minutes + " m " + String(seconds % 60).padStart(2, "0") + " s left" : seconds + " s left";
    at.classList.toggle("soon", seconds < 60);
  }
}
setInterval(tick, 1000);
tick();
title();

// ---- keys -----------------------------------------------------------------------------------------------------------

const help = $("#help");
$("#help-open").addEventListener("click", () => help.showModal());
help.addEventListener("click", (event) => { if (event.target === help) help.close(); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const act = { j: () => move(1), k: () => move(-1), a: () => arm("yes"), d: () => arm("no"), "?": () => help.showModal() }[event.key];
  if (act) { event.preventDefault(); act(); }
});
