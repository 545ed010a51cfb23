"use strict";
// Makes the page quick: searches without reloading, opens rows, tails, completes fields, listens to keys.
// All HTML comes rendered and escaped from the server; this file only puts it in place.

const $ = (selector, within = document) => within.querySelector(selector);
const form = $("#search");
const input = $("#q");
const results = $("#results");
const MAX_LIVE_ROWS = 1000;

const announce = (text) => { $("#announce").textContent = text; };
const fragment = (html) => { const t = document.createElement("template"); t.innerHTML = html; return t.content; };

// ---- searching ------------------------------------------------------------------------------------------------------

function parameters() {
  const given = new URLSearchParams();
  if (input.value.trim()) given.set("q", input.value.trim());
  if ($("#range").value === "custom") {
    for (const name of ["from", "to"]) if ($("#" + name).value.trim()) given.set(name, $("#" + name).value.trim());
  } else if ($("#range").value !== "-24h") {
    given.set("range", $("#range").value);
  }
  return given;
}

function fill(given) {
  input.value = given.get("q") || "";
  const custom = given.has("from") || given.has("to");
  $("#range").value = custom ? "custom" : given.get("range") || "-24h";
  for (const name of ["from", "to"]) $("#" + name).value = given.get(name) || "";
  showCustom();
}

function showCustom() {
  const custom = $("#range").value === "custom";
  $("#custom").hidden = !custom;
  for (const name of ["from", "to"]) $("#" + name).disabled = !custom;
}

let latest = 0;
async function search(push = true) {
  const mine = ++latest;
  const given = parameters();
  closeSuggestions();
  results.setAttribute("aria-busy", "true");
  if (push) history.pushState(null, "", given.size ? "/?" + given : "/");
  document.title = (given.get("q") || "Events") + " · Affidavit";
  try {
    const html = await get("/ui/results?" + given);
    if (mine !== latest) return;
    results.replaceChildren(fragment(html));
    announce($("#totals")?.textContent.replace(/\s+/g, " ") || $("[role=alert]", results)?.textContent.trim() || "");
    if (tail) startTail();
  } catch (error) {
    if (mine === latest) failed(error);
  } finally {
    if (mine === latest) results.setAttribute("aria-busy", "false");
  }
}

async function get(url, wanted = "text") {
  const response = await fetch(url, { headers: { Accept: "text/html" } });
  if (response.status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search)); }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || "The server answered " + response.status + ".");
  }
  return wanted === "response" ? response : response.text();
}

function failed(error) {
  const box = document.createElement("section");
  box.className = "notice bad wide";
  box.setAttribute("role", "alert");
  const title = document.createElement("h2");
  title.textContent = "That did not work";
  const text = document.createElement("p");
  text.textContent = error instanceof TypeError ? "The server cannot be reached. Is it running?" : error.message;
  box.append(title, text);
  results.replaceChildren(box);
}

function addFilter(filter) {
  const now = input.value.trim();
  if (now === filter || now.split(" ").includes(filter)) return search();
  input.value = !now ? filter : (/ OR /.test(now) ? "(" + now + ")" : now) + " " + filter;
  search();
}

form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
$("#range").addEventListener("change", () => { showCustom(); if ($("#range").value === "custom") $("#from").focus(); else search(); });
addEventListener("popstate", () => { fill(new URLSearchParams(location.search)); search(false); });

// ---- rows -----------------------------------------------------------------------------------------------------------

async function toggle(row) {
  const button = $(".open", row);
  const next = row.nextElementSibling;
  if (next?.classList.contains("detail-row")) {
    next.remove();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  button.setAttribute("aria-expanded", "true");
  const holder = document.createElement("tr");
  holder.className = "detail-row";
  const cell = document.createElement("td");
  cell.colSpan = 8;
  cell.innerHTML = '<div class="detail muted" role="status">Loading…</div>';
  holder.append(cell);
  row.after(holder);
  try {
    cell.replaceChildren(fragment(await get("/ui/events/" + row.dataset.id)));
  } catch (error) {
    cell.firstElementChild.textContent = error.message;
  }
}

function mark(row, focus = true) {
  $(".row.current")?.classList.remove("current");
  row.classList.add("current");
  if (focus) $(".open", row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const rows = [...results.querySelectorAll(".row")];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("current"));
  mark(rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))]);
}

async function more(link) {
  link.setAttribute("aria-disabled", "true");
  try {
    const given = parameters();
    given.set("cursor", link.dataset.cursor);
    const response = await get("/ui/rows?" + given, "response");
    const rows = fragment(await response.text());
    announce(rows.querySelectorAll(".row").length + " older events");
    $("#rows").append(rows);
    link.dataset.cursor = response.headers.get("X-Next-Cursor");
    link.hidden = !link.dataset.cursor;
  } catch (error) {
    announce(error.message);
    link.textContent = error.message + " Try again";
  } finally {
    link.removeAttribute("aria-disabled");
  }
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-filter],[data-query],[data-from],[data-copy],#more");
  if (link && (event.ctrlKey || event.metaKey || event.shiftKey)) return;
  if (link) {
    event.preventDefault();
    const { filter, query, from, to, copy } = link.dataset;
    if (filter) addFilter(filter);
    else if (query) { $("#help").close(); input.value = query; search(); }
    else if (from) { const p = parameters(); p.delete("range"); p.set("from", from); p.set("to", to); fill(p); search(); }
    else if (copy) { await navigator.clipboard.writeText(await get(copy)); link.textContent = "copied"; announce("Copied"); }
    else if (!link.hasAttribute("aria-disabled")) more(link);
    return;
  }
  const row = event.target.closest(".row");
  if (row && !String(getSelection())) { mark(row, false); toggle(row); }
});

// ---- live tail ------------------------------------------------------------------------------------------------------

const live = $("#live");
let tail = null;

function startTail() {
  tail?.close();
  const given = new URLSearchParams();
  if (input.value.trim()) given.set("q", input.value.trim());
  tail = new EventSource("/ui/stream?" + given);
  live.setAttribute("aria-pressed", "true");
  live.classList.remove("broken");
  tail.onopen = () => { live.classList.remove("broken"); announce("Live tail is on"); };
  tail.onmessage = (event) => {
    const body = $("#rows");
    const row = fragment(event.data).firstElementChild;
    if (!body || !row || $('[data-id="' + CSS.escape(row.dataset.id) + '"]', body)) return;
    row.classList.add("fresh");
    body.prepend(row);
    $("#empty").hidden = true;
    while (body.children.length > MAX_LIVE_ROWS) body.lastElementChild.remove();
  };
  tail.addEventListener("problem", (event) => { stopTail(); announce("Live tail ended: " + JSON.parse(event.data).detail); });
  tail.onerror = () => {
    live.classList.add("broken");
    if (tail?.readyState === EventSource.CLOSED) { stopTail(); announce("Live tail was refused; try again later."); }
  };
}

function stopTail() {
  tail?.close();
  tail = null;
  live.setAttribute("aria-pressed", "false");
}

live.addEventListener("click", () => { if (tail) { stopTail(); announce("Live tail is off"); } else startTail(); });

// ---- completing fields ----------------------------------------------------------------------------------------------

const list = $("#suggestions");
const fields = [...document.querySelectorAll("#fields [data-field]")].map((row) => ({
  name: row.dataset.field.replace("<key>", ""),
  about: row.cells[1].textContent,
  values: row.dataset.values ? row.dataset.values.split(" ") : [],
}));
let chosen = -1;

function word() {
  const before = input.value.slice(0, input.selectionStart);
  const found = /[^\s()]*$/.exec(before);
  const sign = found[0].startsWith("-") ? 1 : 0;
  return { start: found.index + sign, text: found[0].slice(sign) };
}

function suggest() {
  const { text } = word();
  const colon = text.indexOf(":");
  let options = [];
  if (colon < 0) {
    if (text) options = fields.filter((f) => f.name.includes(text)).sort((a, b) => b.name.startsWith(text) - a.name.startsWith(text))
      .map((f) => ({ value: f.name.endsWith(".") ? f.name : f.name + ":", about: f.about }));
  } else {
    const field = fields.find((f) => f.name === text.slice(0, colon));
    const begun = text.slice(colon + 1).toLowerCase();
    options = (field?.values || []).filter((v) => v.toLowerCase().startsWith(begun) && v !== begun)
      .map((v) => ({ value: field.name + ":" + v + " ", about: "" }));
  }
  list.replaceChildren(...options.slice(0, 9).map((option, i) => {
    const item = document.createElement("li");
    item.id = "suggestion-" + i;
    item.setAttribute("role", "option");
    item.dataset.value = option.value;
    const name = document.createElement("b");
    name.textContent = option.value.trim();
    const about = document.createElement("span");
    about.textContent = option.about;
    item.append(name, about);
    return item;
  }));
  choose(-1);
  list.hidden = !options.length;
  input.setAttribute("aria-expanded", String(!list.hidden));
}

function choose(index) {
  chosen = index;
  [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === index)));
  if (index >= 0) { input.setAttribute("aria-activedescendant", "suggestion-" + index); list.children[index].scrollIntoView({ block: "nearest" }); }
  else input.removeAttribute("aria-activedescendant");
}

function accept(item) {
  const { start, text } = word();
  input.setRangeText(item.dataset.value, start, start + text.length, "end");
  input.focus();
  suggest();
}

function closeSuggestions() { list.hidden = true; input.setAttribute("aria-expanded", "false"); choose(-1); }

input.addEventListener("input", suggest);
input.addEventListener("blur", closeSuggestions);
list.addEventListener("mousedown", (event) => { event.preventDefault(); const item = event.target.closest("li"); if (item) accept(item); });
input.addEventListener("keydown", (event) => {
  const open = !list.hidden;
  if (event.key === "Escape") { if (open) closeSuggestions(); else input.blur(); event.stopPropagation(); }
  else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const count = list.children.length;
    choose((chosen + (event.key === "ArrowDown" ? 1 : -1) + count + (chosen < 0 && event.key === "ArrowUp" ? 1 : 0)) % count);
    event.preventDefault();
  } else if (open && (event.key === "Tab" || (event.key === "Enter" && chosen >= 0)) && !event.shiftKey) {
    accept(list.children[Math.max(0, chosen)]);
    event.preventDefault();
  }
});

// ---- keys, help ----------------------------------------------------------------------------------------------

const help = $("#help");
$("#help-open").addEventListener("click", () => help.showModal());
help.addEventListener("click", (event) => { if (event.target === help) help.close(); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const act = {
    "/": () => { input.focus(); input.select(); },
    "j": () => move(1),
    "k": () => move(-1),
    "l": () => live.click(),
    "?": () => help.showModal(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
  else if (event.key === "Enter" && event.target === document.body && $(".row.current")) toggle($(".row.current"));
});
