// The list of jobs, and the panel above the gallery of a job, in `darkroom review`.
//
// All text comes from manifests, from Gemini and from file names, so it is only ever set as text.
// The server wraps this file in a function and defines STYLE and VERSION, the version of the page.

const BASE = location.pathname.split("/").slice(0, 2).join("/") + "/";
const POLL_MS = 1500;
const POLL_ENDED_MS = 15000;

// The version of the page of a job that has no stored page yet.
const NO_PAGE = '"review-none"';

const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLE);
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

// Creates an element. Members that are functions become listeners, the others attributes.
function make(name, members = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(members)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Sets a text only if it has changed, so that a screen reader does not repeat it.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Returns the path of a job's pages.
function pathOf(job) {
  return `jobs/${encodeURIComponent(job)}/`;
}

function linkTo(job) {
  return make("a", { href: `${BASE}${pathOf(job)}index.html` }, job);
}

// Calls the server and returns its document. A manifest with errors is an answer, too.
async function call(path, body) {
  const options = { cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(BASE + path, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok && answer.problems === undefined)
    throw new Error(answer.error || `the answer was ${response.status}`);
  return answer;
}

// Repeats a task until the page is closed. The task returns how long to wait, in milliseconds.
async function repeat(task, failed) {
  for (;;) {
    let wait = POLL_MS;
    try {
      wait = await task();
    } catch (error) {
      failed(`Can't reach the jobs now: ${error.message}`);
      wait = 2 * POLL_MS;
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}
let wake = () => {};

// Asks in a dialog and returns whether the user has chosen `yes`. Without `yes`, it only informs.
// The lines are texts or elements.
function ask(title, lines, yes) {
  return new Promise((resolve) => {
    const close = (answer) => { dialog.close(); dialog.remove(); resolve(answer); };
    const back = (event) => { event.preventDefault(); close(false); };
    const agree = yes
      ? make("button", { type: "button", class: "rv-yes", click: () => close(true) }, yes)
      : null;
    const dialog = make(
      "dialog",
      { class: "rv-dialog", "aria-label": title, cancel: back },
      make("h2", {}, title),
      ...lines.map((line) => (line instanceof Node ? line : make("p", {}, line))),
      make(
        "p",
        { class: "rv-buttons" },
        make("button", { type: "button", click: back }, yes ? "Back" : "Close"),
        agree,
      ),
    );
    // The keys of the gallery do not apply here.
    dialog.addEventListener("keydown", (event) => event.stopPropagation());
    document.body.append(dialog);
    dialog.showModal();
  });
}

function showList() {
  const heads = ["Job", "Phase", "Images", "Cost", "Age", "Waits for"];
  const columns = heads.map((head) => make("th", { scope: "col" }, head));
  const rows = make("tbody");
  const [place, note, empty] = [make("span"), make("p", { class: "rv-note" }), make("p")];
  document.body.append(
    make(
      "main",
      { class: "rv-list" },
      make("h1", {}, "Jobs ", place),
      note,
      make("table", {}, make("thead", {}, make("tr", {}, ...columns)), rows),
      empty,
    ),
  );
  const known = new Map();

  function row(job) {
    if (!known.has(job)) {
      const head = make("th", { scope: "row" }, linkTo(job));
      const cells = heads.slice(1).map(() => make("td"));
      known.set(job, { element: make("tr", {}, head, ...cells), cells });
    }
    return known.get(job);
  }

  repeat(
    async () => {
      const list = await call("jobs");
      write(place, `in ${list.place}`);
      write(note, list.note || "");
      write(empty, list.jobs.length ? "" : "There are no jobs yet.");
      list.jobs.forEach((job, index) => {
        const { element, cells } = row(job.job);
        const images = `${job.finished} of ${job.images}`;
        const texts = [job.phase, images, job.price, job.age, job.waits_for];
        texts.forEach((text, column) => write(cells[column], text));
        // A row that is moved would lose its focus, so it only moves if its place has changed.
        const there = rows.children[index] || null;
        if (there !== element) rows.insertBefore(element, there);
      });
      while (rows.children.length > list.jobs.length) rows.lastChild.remove();
      return list.jobs.every((job) => job.ended) ? 2 * POLL_MS : POLL_MS;
    },
    (message) => write(note, message),
  );
}

function showPanel(darkroom) {
  const job = decodeURIComponent(location.pathname.split("/")[3]);
  const path = pathOf(job);
  const [words, waits, note] = [make("strong"), make("ul"), make("p", { class: "rv-note" })];
  const message = make("p", { "aria-live": "polite", class: "rv-message" });
  const button = (text, kind, action) => {
    const members = { type: "button", class: kind, hidden: true, click: () => decide(action) };
    return make("button", members, text);
  };
  const approve = button("Approve…", "rv-yes", "approve");
  const cancel = button("Cancel the job…", "rv-no", "cancel");
  darkroom.panel.append(
    make(
      "section",
      { class: "rv-panel", "aria-label": "Job" },
      make("p", {}, make("a", { href: BASE }, "All jobs"), " ", words, " ", approve, " ", cancel),
      waits,
      message,
      note,
    ),
  );

  const texts = {
    approve: ["Approve?", "Approve", "Approved"],
    cancel: ["Cancel the job?", "Cancel the job", "Cancel requested"],
  };
  async function decide(action) {
    try {
      const cost = (await call(path + "decision"))[action];
      if (!cost) return write(message, "There is nothing to decide any more.");
      const [title, yes, done] = texts[action];
      if (!(await ask(title, [cost], yes))) return;
      await call(path + action, {});
      write(message, `${done}. This takes effect within a minute.`);
      approve.disabled = cancel.disabled = true;
      setTimeout(() => { approve.disabled = cancel.disabled = false; }, 10 * POLL_MS);
      wake();
    } catch (error) {
      write(message, `That failed: ${error.message}`);
    }
  }

  // Shows the price of a manifest that the gallery has made, and drops it if the user agrees. The
  // gallery's own dialog stays open below.
  darkroom.onDrop = async ({ name, text }) => {
    try {
      const estimate = await call("estimate", { name, text });
      if (!estimate.accepted) {
        const line = (problem) => `Line ${problem.line}: ${problem.message}`;
        await ask("This manifest would be rejected", estimate.problems.slice(0, 10).map(line));
        return;
      }
      if (!(await ask("Drop it into the bucket?", estimate.lines, `Drop ${name}`))) return;
      const { key, job, dropped } = await call("drop", { name, text });
      if (!key) throw new Error("the manifest would be rejected by now");
      await ask(dropped ? "Dropped" : "Dropped before", [make("p", {}, "Job: ", linkTo(job))]);
    } catch (error) {
      await ask("That failed", [error.message]);
    }
  };

  let version = VERSION;
  async function refresh() {
    const headers = { "If-None-Match": version };
    const response = await fetch(BASE + path + "index.html", { cache: "no-store", headers });
    if (response.status !== 200) return;
    // The first stored page is loaded: the choices of the gallery are made for its job once.
    if (version === NO_PAGE) return location.reload();
    version = response.headers.get("ETag") || version;
    await darkroom.replace(await response.text());
  }

  repeat(
    async () => {
      const status = await call(path + "status");
      write(words, status.missing || status.words);
      write(note, status.note || "");
      const reasons = status.waits || [];
      while (waits.children.length > reasons.length) waits.lastChild.remove();
      reasons.forEach((reason, index) => {
        if (!waits.children[index]) waits.append(make("li"));
        write(waits.children[index], reason);
      });
      approve.hidden = !status.decision;
      cancel.hidden = Boolean(status.missing || status.ended);
      await refresh();
      return status.ended ? POLL_ENDED_MS : POLL_MS;
    },
    (text) => write(note, text),
  );
}

if (document.documentElement.dataset.review === "list") showList();
else showPanel(window.darkroom);
