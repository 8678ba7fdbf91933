// Brings the pages to life: live parts, count-downs, local times, copying, the timeline's handle.
// Everything works without it, by links, forms, and refreshing.
"use strict";

const $$ = (selector, root = document) => Array.from(root.querySelectorAll(selector));

// ---- theme -----------------------------------------------------------------------------------
const root = document.documentElement;
try { const kept = localStorage.getItem("theme"); if (kept) root.dataset.theme = kept; } catch { /* private mode */ }
function toggleTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it lasts for this page */ }
}

// ---- times -----------------------------------------------------------------------------------
const near = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
function said(at) {
  const seconds = (at - Date.now()) / 1000, far = Math.abs(seconds);
  if (far < 60) return near.format(Math.round(seconds), "second");
  if (far < 3600) return near.format(Math.round(seconds / 60), "minute");
  if (far < 86400) return near.format(Math.round(seconds / 3600), "hour");
  if (far < 7 * 86400) return near.format(Math.round(seconds / 86400), "day");
  return whole.format(at);
}
function left(ms) {
  if (ms <= 0) return "0 s";
  const s = Math.ceil(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}
function times() {
  for (const it of $$("time[datetime]")) {
    const at = new Date(it.dateTime);
    it.title = whole.format(at);
    const text = it.hasAttribute("data-exact") ? clock.format(at) : said(at);
    if (it.textContent !== text) it.textContent = text;
  }
  const offset = Number(root.dataset.offset || 0);
  for (const it of $$("[data-until]")) {
    const text = left(Number(it.dataset.until) - Date.now() - offset);
    if (it.textContent !== text) it.textContent = text;
  }
}

// ---- live parts ------------------------------------------------------------------------------
// A page's [data-live] elements have ids; when something changed, the page is fetched again and
// those elements are replaced, unless the reader is typing in one.
let asked = 0, pending = null;
async function refresh() {
  pending = null;
  asked = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { "X-Live": "1" }, credentials: "same-origin" });
    if (answer.redirected || !answer.ok) { if (answer.redirected) location.reload(); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of $$("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (!next || old.outerHTML === next.outerHTML) continue;
      // What is filled in later is only made anew when it would be another.
      if (next.dataset.version !== undefined && next.dataset.version === old.dataset.version) continue;
      const focus = document.activeElement && old.contains(document.activeElement) ? document.activeElement : null;
      if (focus && /INPUT|SELECT|TEXTAREA/.test(focus.tagName)) continue;
      const key = focus && (focus.id || focus.getAttribute("href"));
      const scrolled = $$(".scroll, .plot-box", old).map((it) => it.scrollLeft);
      old.replaceWith(next);
      $$(".scroll, .plot-box", next).forEach((it, at) => { it.scrollLeft = scrolled[at] || 0; });
      if (key) $$("a, button", next).find((it) => it.id === key || it.getAttribute("href") === key)?.focus();
      prepare(next);
    }
    times();
  } catch { /* the server is away; the stream tells when it is back */ }
}
function soon(ms = 250) {
  if (document.hidden) { pending = pending || -1; return; }
  if (pending && pending !== -1) return;
  pending = setTimeout(refresh, Math.max(ms, 600 - (Date.now() - asked)));
}
function follow() {
  const body = document.body, sign = document.getElementById("live");
  if (!$$("[data-live]").length) return;
  const kinds = (body.dataset.on || "job session").split(" ");
  const stream = new EventSource("/live");
  const tell = (state) => { if (sign) { sign.dataset.state = state; sign.textContent = state === "on" ? "Live" : "Reconnecting"; } };
  stream.onopen = () => { tell("on"); };
  stream.onerror = () => tell("off");
  for (const kind of kinds) stream.addEventListener(kind, () => soon());
  stream.addEventListener("reset", () => soon(0));
  if (body.dataset.poll) setInterval(() => soon(0), Number(body.dataset.poll));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { pending = null; soon(0); } });
  addEventListener("pagehide", () => stream.close());
}

// ---- small helps -----------------------------------------------------------------------------
async function fill(box) {
  const answer = await fetch(box.dataset.src, { credentials: "same-origin" });
  if (answer.ok) box.innerHTML = await answer.text();
  else box.textContent = "This part could not be loaded; reload the page to try again.";
  box.removeAttribute("aria-busy");
  prepare(box);
}
function prepare(part) {
  for (const box of $$("[data-src]", part)) { const it = box; queueMicrotask(() => fill(it)); }
  for (const box of $$("[data-newest]", part)) box.scrollLeft = box.scrollWidth;
  for (const form of $$("form[data-sends]", part)) form.addEventListener("change", () => form.requestSubmit());
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.id.startsWith("theme")) toggleTheme();
  if (button.dataset.copy !== undefined) {
    const text = button.parentElement.querySelector("pre").textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  if (button.dataset.png !== undefined) png(button.dataset.png);
});
document.addEventListener("submit", (event) => {
  const ask = event.target.dataset.confirm;
  if (ask && !confirm(ask)) event.preventDefault();
});

// ---- the timeline: drag to move, wheel or keys to zoom ---------------------------------------
function timeline() {
  const box = document.getElementById("timeline");
  if (!box) return;
  const query = () => {
    const { start, end } = document.getElementById("timeline").dataset;
    return { start: Number(start), end: Number(end) };
  };
  const show = (start, end) => {
    const url = new URL(location.href);
    url.searchParams.set("from", Math.round(start));
    url.searchParams.set("to", Math.round(end));
    history.replaceState(null, "", url);
    soon(0);
  };
  const zoom = (factor, at = .5) => {
    const { start, end } = query(), span = Math.min(Math.max((end - start) * factor, 1000), 32 * 86400e3);
    const fixed = start + (end - start) * at;
    show(fixed - span * at, fixed + span * (1 - at));
  };
  const move = (part) => { const { start, end } = query(), by = (end - start) * part; show(start + by, end + by); };
  const area = box.parentElement;
  const share = (x) => {
    const r = area.querySelector("svg").getBoundingClientRect();
    return Math.min(1, Math.max(0, (x - r.left - r.width * 84 / 1120) / (r.width * (1 - 84 / 1120))));
  };
  area.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && Math.abs(event.deltaX) < Math.abs(event.deltaY) && !event.altKey) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / 1500);
    else zoom(event.deltaY > 0 ? 1.25 : .8, share(event.clientX));
  }, { passive: false });
  const stick = () => {  // the lanes keep their names where the picture is wider than the screen
    const svg = area.querySelector("svg"), wide = svg && svg.getBoundingClientRect().width;
    svg?.querySelector(".names")?.setAttribute("transform", `translate(${wide ? area.scrollLeft * 1120 / wide : 0} 0)`);
  };
  area.addEventListener("scroll", stick, { passive: true });
  new MutationObserver(stick).observe(area, { childList: true });
  area.scrollLeft = area.scrollWidth;  // on a phone, what happens now is what one came for
  let from = null;
  area.addEventListener("pointerdown", (event) => { if (event.button === 0) from = { x: event.clientX, moved: false, ...query() }; });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const svg = area.querySelector("svg"), by = event.clientX - from.x;
    if (Math.abs(by) > 4) from.moved = true;
    if (from.moved) svg.setAttribute("transform", `translate(${by} 0)`);
  });
  addEventListener("pointerup", (event) => {
    if (!from) return;
    const svg = area.querySelector("svg");
    svg.removeAttribute("transform");
    if (from.moved) {
      const width = svg.getBoundingClientRect().width * (1 - 84 / 1120);
      const by = (event.clientX - from.x) / width * (from.end - from.start);
      show(from.start - by, from.end - by);
      area.addEventListener("click", (e) => e.preventDefault(), { once: true, capture: true });
    }
    from = null;
  });
  area.addEventListener("keydown", (event) => {
    const act = { "+": () => zoom(.6), "=": () => zoom(.6), "-": () => zoom(1.6), ArrowLeft: () => move(-.25), ArrowRight: () => move(.25) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
}
async function png(source) {
  const text = await (await fetch(source, { credentials: "same-origin" })).text();
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * 2; canvas.height = image.naturalHeight * 2;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const link = document.createElement("a");
  link.href = canvas.toDataURL("image/png"); link.download = "timeline.png";
  link.click();
}

document.addEventListener("DOMContentLoaded", () => {
  const now = document.body.dataset.now;
  if (now) root.dataset.offset = String(Number(now) - Date.now());
  root.dataset.scripts = "on";
  times(); setInterval(times, 1000);
  prepare(document); follow(); timeline();
});
