// The live page: requests the state of the run from the master once per second, and draws it. It keeps only the points
// that it shows: at most as many as the master has spans, for any length of the run.
const EVERY = 1000; // ms between two requests
const PATIENCE = 8000; // ms until a request counts as lost
const MAX_WAIT = 10000; // ms between two requests while the master does not answer

const DASH = "–";
const root = document.documentElement;
const byId = (id) => document.getElementById(id);

root.classList.toggle("alone", window.parent === window);

// ── words ──

function digits(value) {
  if (value == null) return DASH;
  const size = Math.abs(value);
  if (size >= 99.95) return Math.round(value).toLocaleString("en").replace(/,/g, "\u202f");
  return String(Number(value.toFixed(size >= 9.995 ? 1 : 2)));
}

const milliseconds = (ms) => (ms == null ? DASH : ms < 999.5 ? digits(ms) + " ms" : digits(ms / 1000) + " s");
const share = (value) => (value == null ? DASH : digits(value * 100) + " %");
const load = (value) => (Number.isInteger(value) ? String(value) : digits(value));

function elapsed(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

// ── the state of the run ──

const known = { name: "", changes: 0, width: 0, points: new Map(), run: null };

function take(state) {
  const run = state.run;
  if (!run) {
    Object.assign(known, { name: "", changes: 0, width: 0, run: null });
    known.points.clear();
  } else {
    if (run.name !== known.name || run.width !== known.width) known.points.clear();
    for (const [span, point] of Object.entries(run.points)) known.points.set(Number(span), point);
    Object.assign(known, { name: run.name, changes: run.changes, width: run.width, run });
  }
  show(state);
}

function newest(column) {
  const place = known.run.columns.indexOf(column);
  let last = -1, value = null;
  for (const [span, point] of known.points) {
    if (span > last && point[place] != null) [last, value] = [span, point[place]];
  }
  return value;
}

// ── text on the page ──

function show(state) {
  text(byId("state"), summary(state));
  showReported(state.run);
  showFaults(state.run);
  const problems = [...(state.refused ? [`Not started: ${state.refused}`] : []), ...(state.run ? state.run.problems : [])];
  replace(byId("problems"), problems.map((words) => element("li", words)));
  byId("problems").hidden = !problems.length;
  showNumbers(state.run);
  showDoubts(state.run);
  showLevels(state.run);
  showNames(state.run);
  showDownloads(state);
  draw();
}

function summary(state) {
  const run = state.run;
  if (!run) return "No run yet. Start one to see its levels here.";
  const done = `${digits(run.over)} of ${digits(run.sent)} requests done`;
  if (run.ended) return `${run.stopped ? "Stopped" : "Ended"} after ${elapsed(run.now)} · ${done}`;
  const parts = [elapsed(run.now), ...atLevel(run), `${state.users} user${state.users === 1 ? "" : "s"}`];
  parts.push(`${digits(run.sent - run.over)} in flight`, done);
  const cpu = newest("client_cpu"), lag = newest("client_lag");
  if (cpu != null) parts.push(`client CPU ${share(cpu)}`);
  if (lag) parts.push(`read lag ${milliseconds(lag)}`);
  return parts.join(" · ");
}

// the metrics that the server reports, with their texts
const REPORTED = {
  "running": (value) => `${digits(value)} running`,
  "waiting": (value) => `${digits(value)} waiting`,
  "kv.usage": (value) => `KV cache ${share(value)}`,
  "gpu.utilisation": (value) => `GPU ${share(value)}`,
  "cpu": (value) => `CPU ${share(value)}`,
  "process.cpu": (value) => `busiest process ${share(value)} of a core`,
};

function showReported(run) {
  const now = run && !run.ended ? run.telemetry : {};
  const parts = Object.entries(REPORTED).filter(([key]) => now[key] != null).map(([key, says]) => says(now[key]));
  byId("reported").hidden = !parts.length;
  text(byId("reported"), parts.length ? `Server: ${parts.join(" · ")}` : "");
}

function showFaults(run) {
  const parts = run ? run.faults.map((fault) => faultInWords(fault, run.now)) : [];
  byId("faults").hidden = !parts.length;
  text(byId("faults"), parts.length ? `Faults: ${parts.join(" · ")}` : "");
}

function faultInWords({ name, began, lifted, is_confirmed, problem }, now) {
  if (problem) return `${name}: ${problem}`;
  if (began == null) return `${name} planned`;
  if (lifted != null) return `${name} from ${elapsed(began)} to ${elapsed(lifted)}`;
  return `${name} for ${elapsed(now - began)}${is_confirmed ? "" : ", not confirmed yet"}`;
}

function atLevel(run) {
  const level = run.levels[run.levels.length - 1];
  if (!level) return [];
  const number = `level ${level.level + 1}` + (run.levels_planned ? ` of ${run.levels_planned}` : "");
  if (level.ended != null) return [`${number} has ended`];
  if (level.warmed_up == null) return [`${number}: ${level.says}, warming up`];
  return [`${number}: ${level.says}, measured for ${elapsed(run.now - level.warmed_up)}`];
}

function showNumbers(run) {
  for (const card of byId("numbers").children) {
    const finding = run && run.numbers && run.numbers[card.classList[1]];
    card.classList.toggle("open", !finding || !finding.reached);
    const number = card.querySelector(".number");
    text(card.querySelector(".why"), finding ? finding.why : "");
    card.querySelector(".doubt").hidden = !finding || finding.valid;
    if (!finding || !finding.reached) text(number, run && run.ended ? "not reached" : "not yet");
    else if (finding.load == null) text(number, "below the lowest level");
    else replace(number, [load(Number(finding.load.toPrecision(3))) + " ", element("small", between(finding))]);
  }
  const limits = run ? run.limits : [];
  const where = run && run.derived ? "Thresholds, derived from the lowest level because none were given: " : "Thresholds: ";
  text(byId("limits"), limits.length ? where + limits.map((limit) => limit.says).join(", ") : "");
}

// the failed validity checks of a level
function doubtsOf(level) {
  const doubts = known.run ? known.run.doubts : [];
  return doubts.filter((doubt) => doubt.levels.includes(level)).map((doubt) => doubt.says);
}

function showDoubts(run) {
  const doubts = run ? run.doubts : [];
  byId("doubts").parentElement.hidden = !doubts.length;
  replace(byId("doubts"), doubts.map((doubt) => element("li", doubt.says)));
}

function marked(words, doubts) {
  const cell = heading(words);
  if (!doubts.length) return cell;
  const mark = Object.assign(element("span", "?"), { className: "mark", title: doubts.join("\n") });
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", `Failed validity checks: ${doubts.join(" ")}`);
  cell.append(" ", mark);
  return cell;
}

function between(finding) {
  const low = finding.low == null ? null : load(Number(finding.low.toPrecision(3)));
  const high = finding.high == null ? null : load(Number(finding.high.toPrecision(3)));
  if (low == null && high == null) return "";
  if (low == null) return `up to ${high}`;
  return high == null ? `${low} or more` : `${low} to ${high}`;
}

const of = (metric, name) => (row) => {
  const value = row[metric] && row[metric][name];
  if (Array.isArray(value)) return `${digits(value[0])} to ${digits(value[1])}`;
  return digits(value);
};

// group, name, cell; neighbours of one group share a heading
const FIGURES = [
  ["requests", "sent", (row) => digits(row.requests)],
  ["requests", "failed", errors],
  ["per second", "answered", (row) => digits(row.throughput)],
  ["per second", "goodput", (row) => digits(row.goodput)],
  ["per second", "tokens", (row) => digits(row.tokens)],
  ["TTFT, ms", "p50", of("ttft", "p50")],
  ["TTFT, ms", "p95", of("ttft", "p95")],
  ["TTFT, ms", "p99", of("ttft", "p99")],
  ["ITL, ms", "p50", of("itl", "p50")],
  ["ITL, ms", "p95", of("itl", "p95")],
  ["ITL, ms", "p99", of("itl", "p99")],
  ["TPOT, ms", "p50", of("tpot", "p50")],
  ["TPOT, ms", "p95", of("tpot", "p95")],
  ["end to end, ms", "p95", of("e2e", "p95")],
  ["client lag, ms", "p99", of("lag", "p99")],
];

function errors(row) {
  const cell = element("td", share(row.errors));
  const kinds = Object.entries(row.error_kinds).map(([kind, count]) => `${count} × ${kind}`);
  if (kinds.length) {
    cell.className = "errors";
    cell.title = kinds.join(", ");
  }
  return cell;
}

function table(id, columns, rows, empty) {
  const head = byId(id).tHead, body = byId(id).tBodies[0];
  if (!head.rows.length) head.append(...heads(columns));
  const lines = rows.map((row) => {
    const cells = columns.map(([, , cell]) => cell(row));
    const line = element("tr", ...cells.map((cell) => (cell instanceof Node ? cell : element("td", cell))));
    if (row.level !== undefined && row.ended == null) line.className = "open";
    return line;
  });
  if (!lines.length) {
    const cell = element("td", empty);
    cell.className = "none";
    cell.colSpan = columns.length;
    lines.push(element("tr", cell));
  }
  markGroups(columns, lines);
  replace(body, lines);
}

function heads(columns) {
  const groups = element("tr"), names = element("tr");
  for (const [group, name] of columns) {
    const last = groups.lastChild;
    if (last && last.textContent === group) last.colSpan += 1;
    else groups.append(element("th", group));
    names.append(element("th", name));
  }
  for (const cell of groups.children) cell.scope = "colgroup";
  for (const cell of names.children) cell.scope = "col";
  markGroups(columns, [names]);
  return [groups, names];
}

function markGroups(columns, lines) {
  columns.forEach(([group], place) => {
    if (!place || group === columns[place - 1][0]) return;
    for (const line of lines) line.children[place]?.classList.add("first");
  });
}

function heading(words) {
  const cell = element("th", words);
  cell.scope = "row";
  return cell;
}

const LEVEL = [
  ["level", "", (row) => marked(`${row.level + 1}: ${row.says}`, doubtsOf(row.level))],
  ["measured", "for", (row) => (row.warmed_up == null ? "warming up" : elapsed(row.window))],
  ["thresholds", "", tier],
  ["on average", "users", (row) => digits(row.users)],
  ["on average", "in flight", (row) => digits(row.in_flight)],
];

function tier(row) {
  const cell = element("td", row.tier && row.tier !== "not known" ? (row.tier === "fails" ? "fails" : "passes") : DASH);
  if (row.tier) cell.classList.add(row.tier.replace(" ", "-"));
  return cell;
}

function showLevels(run) {
  table("levels", [...LEVEL, ...FIGURES], run ? run.levels : [], "No level yet.");
}

let chosen = null; // the level whose names are shown; null: the newest

function showNames(run) {
  const choice = byId("of-level");
  const options = (run ? run.levels : []).map((level) => [String(level.level), `${level.level + 1}: ${level.says}`]);
  const entries = [["", "the newest"], ...options.reverse()];
  if (JSON.stringify(entries) !== choice.dataset.shown) {
    replace(choice, entries.map(([value, words]) => Object.assign(element("option", words), { value })));
    choice.dataset.shown = JSON.stringify(entries);
    if (chosen != null && !options.some(([value]) => value === String(chosen))) chosen = null;
    choice.value = chosen == null ? "" : String(chosen);
  }
  const columns = [["name", "", (row) => heading(row.name)], ["in flight", "now", (row) => digits(row.in_flight)], ...FIGURES];
  table("names", columns, run ? run.names : [], "No request of this level has ended yet.");
}

byId("of-level").addEventListener("change", (event) => {
  chosen = event.target.value === "" ? null : Number(event.target.value);
  soon();
});

function showDownloads({ runs, kept }) {
  const place = byId("downloads"), shown = JSON.stringify([runs, kept]);
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  if (!runs.length) return replace(place, [element("p", "Files can be downloaded once a run has begun.")]);
  const lists = [...runs].reverse().map((run) => downloadsOf(run, runs.length));
  const words = "Without --csv, these files are deleted when Locust ends, and Locust's own figures are only those of the newest run.";
  replace(place, kept ? lists : [...lists, Object.assign(element("p", words), { className: "note" })]);
}

function downloadsOf({ run, files, missing }, runs) {
  const link = (words, href) => Object.assign(element("a", words), { href, download: "" });
  const reports = [link("Report", `report?run=${run}`), link("Report in Chinese", `report?run=${run}&lang=zh`)];
  for (const anchor of reports) anchor.addEventListener("click", report);
  const names = files.map((name) => link(name, `files/${name}?run=${run}`));
  const whose = runs > 1 ? [element("span", run === runs ? `Run ${run}, the newest:` : `Run ${run}:`)] : [];
  const absent = missing.length ? [element("span", `Missing: ${missing.join(", ")}`)] : [];
  return element("p", ...whose, ...reports, ...names, ...absent);
}

let making = false;

async function report(event) {
  // fetched, and then given to the browser: it takes some seconds, and errors are shown here
  event.preventDefault();
  if (making) return;
  making = true;
  const status = byId("made");
  text(status, "Making the report …");
  try {
    const answer = await fetch(event.target.href);
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const name = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") || "");
    const href = URL.createObjectURL(await answer.blob());
    Object.assign(element("a"), { href, download: name ? name[1] : "report.html" }).click();
    URL.revokeObjectURL(href);
    text(status, "");
  } catch (problem) {
    text(status, `No report: ${problem.message}`);
  } finally {
    making = false;
  }
}

function element(tag, ...children) {
  const node = document.createElement(tag);
  node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

function replace(node, children) {
  node.replaceChildren(...children);
}

function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// ── charts ──

const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const ink = () => colour("muted");
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

const PERCENTILES = (metric) => [
  { label: "p50", column: `${metric}_p50`, colour: "s3" },
  { label: "p95", column: `${metric}_p95`, colour: "s2" },
  { label: "p99", column: `${metric}_p99`, colour: "s4" },
];

const CHARTS = [
  { id: "ttft", says: milliseconds, late: true, lines: PERCENTILES("ttft") },
  { id: "itl", says: milliseconds, late: true, lines: PERCENTILES("itl") },
  { id: "tokens", says: digits, late: true, lines: [{ label: "tokens/s", column: "tokens", colour: "s1" }] },
  {
    id: "users", says: digits, lines: [
      { label: "users", column: "users", colour: "s1", width: 4 },
      { label: "in flight", column: "in_flight", colour: "s2" },
    ],
  },
];
const ON_SERVER = {
  id: "on-server", says: digits, reported: true, lines: [
    { label: "running", column: "running", colour: "s1" },
    { label: "waiting", column: "waiting", colour: "s2", dash: [6, 4] },
  ],
};
const IN_USE = {
  id: "in-use", says: share, reported: true, lines: [
    { label: "KV cache", column: "kv.usage", colour: "s3" },
    { label: "GPU", column: "gpu.utilisation", colour: "s4", dash: [2, 3] },
    { label: "CPU", column: "cpu", colour: "s1", dash: [10, 4] },
    { label: "busiest process", column: "process.cpu", colour: "s2", dash: [6, 4] },
  ],
};
CHARTS.push(ON_SERVER, IN_USE);
const NUMBERS = { slo_limit: ["SLO limit", "s3"], knee: ["knee", "s6"], saturation: ["saturation", "s2"], collapse: ["collapse", "s4"] };

function marks(id) {
  // horizontal lines: thresholds of the metric, and the four numbers in charts of loads
  const run = known.run;
  if (!run) return [];
  if (id === "users") {
    return Object.entries(NUMBERS).flatMap(([name, [words, tone]]) => {
      const finding = run.numbers && run.numbers[name];
      const isUsers = run.levels.every((level) => level.unit === "users");
      return finding && finding.load != null && isUsers ? [{ at: finding.load, words: `${words} ${load(Number(finding.load.toPrecision(3)))}`, tone }] : [];
    });
  }
  return run.limits.filter((limit) => limit.metric === id && limit.ms != null).flatMap((limit) => {
    if (limit.gold_ms == null) return [{ at: limit.ms, words: limit.says, tone: "s4" }];
    const name = `${limit.metric}.${limit.statistic}`;
    return [{ at: limit.ms, words: `${name}, tolerated`, tone: "s4" }, { at: limit.gold_ms, words: `${name}, gold`, tone: "s3" }];
  });
}

function highest(id, max) {
  // a threshold far above all values would flatten the curves: it is only in the text
  const near = marks(id).map((mark) => mark.at).filter((at) => at <= 3 * max);
  return Math.max(max, ...near, 0) * 1.15 || 1;
}

function bands(plot) {
  const { ctx, bbox } = plot, run = known.run;
  if (!run) return;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const fill = (from, to, tone) => {
    const left = plot.valToPos(from, "x", true), right = plot.valToPos(to, "x", true);
    ctx.fillStyle = colour(tone);
    ctx.fillRect(left + 1, bbox.top, right - left - 1, bbox.height);
  };
  for (const level of run.levels) {
    const end = level.ended == null ? run.now : level.ended;
    fill(level.began, end, "band");
    if (level.warmed_up != null) fill(level.warmed_up, end, "window");
  }
  for (const { began, lifted } of run.faults) {
    if (began != null) fill(began, lifted == null ? run.now : lifted, "fault");
  }
  ctx.restore();
}

function loads(plot) {
  const run = known.run, near = 4 * devicePixelRatio;
  const free = [-Infinity, -Infinity]; // where the free space for labels begins, on the first and on the second line
  let phase = ""; // of the previous level: a phase is named where it begins
  for (const level of run ? run.levels : []) {
    const left = plot.valToPos(level.began, "x", true) + near;
    const begins = level.phase !== phase;
    phase = level.phase;
    const words = begins && phase ? `${phase} ${load(level.load)}` : load(level.load);
    const line = left >= free[0] ? 0 : 1;
    if (left < free[line] || (line && !begins)) continue; // the second line is for phases that begin
    label(plot, words, left, plot.bbox.top + near / 2 + line * 18 * devicePixelRatio, ink());
    free[line] = left + plot.ctx.measureText(words).width + near;
  }
}

function label(plot, words, x, y, tone, base = "top") {
  const { ctx } = plot;
  ctx.font = FONT.replace("12px", `${11 * devicePixelRatio}px`);
  ctx.fillStyle = tone;
  ctx.textAlign = "left";
  ctx.textBaseline = base;
  ctx.strokeStyle = colour("window"); // around the text, which lines may cross
  ctx.lineWidth = 3 * devicePixelRatio;
  ctx.strokeText(words, x, y);
  ctx.fillText(words, x, y);
}

function hatch(plot) {
  const { ctx, bbox } = plot, run = known.run;
  if (!run || run.whole_until >= run.now) return;
  const left = Math.max(bbox.left, plot.valToPos(run.whole_until, "x", true));
  const right = plot.valToPos(run.now, "x", true);
  const step = 8 * devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, bbox.top, right - left, bbox.height);
  ctx.clip();
  ctx.strokeStyle = colour("hatch");
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  for (let x = left - bbox.height; x < right; x += step) {
    ctx.moveTo(x, bbox.top + bbox.height);
    ctx.lineTo(x + bbox.height, bbox.top);
  }
  ctx.stroke();
  ctx.restore();
}

function lines(plot, id) {
  const { ctx, bbox } = plot, near = 4 * devicePixelRatio;
  let last = Infinity, end = bbox.left; // of the previous label
  for (const mark of marks(id).sort((one, other) => one.at - other.at)) {
    if (mark.at > plot.scales.y.max) continue;
    const y = plot.valToPos(mark.at, "y", true);
    ctx.save();
    ctx.strokeStyle = colour(mark.tone);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
    const left = last - y < 14 * devicePixelRatio ? end + 2 * near : bbox.left + near; // beside the previous label if they would overlap
    label(plot, mark.words, left, y - near / 2, colour(mark.tone), "bottom");
    [last, end] = [y, left + ctx.measureText(mark.words).width];
  }
}

function chart(settings) {
  const holder = byId(settings.id);
  const axis = { stroke: ink, font: FONT, grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false } };
  const plot = new uPlot({
    width: holder.clientWidth || 300,
    height: holder.clientHeight || 240,
    padding: [6, 10, 0, 0],
    cursor: { sync: { key: "run" }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: false, range: () => span() },
      y: { range: (_, __, max) => [0, highest(settings.id, max || 0)] },
    },
    axes: [
      { ...axis, size: 30, values: (_, ticks) => ticks.map(elapsed), space: 64, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600] },
      { ...axis, values: (_, ticks) => ticks.map(settings.says), size: 62, space: 36 },
    ],
    series: [
      { label: "at", value: (_, moment) => (moment == null ? DASH : elapsed(moment)) },
      ...settings.lines.map((line) => ({
        label: line.label, stroke: () => colour(line.colour), width: line.width || 1.6, points: { show: false },
        dash: line.dash, spanGaps: !settings.reported, // a time without an answer of the server stays empty
        value: (_, value) => settings.says(value),
      })),
    ],
    hooks: {
      drawClear: [(u) => { bands(u); }],
      draw: [(u) => { if (settings.late) hatch(u); lines(u, settings.id); loads(u); }],
    },
  }, [[], ...settings.lines.map(() => [])], holder);
  holder.setAttribute("role", "img");
  return plot;
}

function span() {
  const run = known.run;
  return run ? [run.since, Math.max(run.now, run.since + 10)] : [0, 60];
}

const plots = new Map();

function draw() {
  const points = [...known.points].sort(([one], [other]) => one - other).map(([, point]) => point);
  const columns = known.run ? known.run.columns : [];
  const column = (name) => points.map((point) => point[columns.indexOf(name)]);
  const moments = column("moment");
  for (const settings of CHARTS) {
    if (settings.reported && !isReported(settings, column)) continue;
    if (!plots.has(settings.id)) plots.set(settings.id, chart(settings));
    const plot = plots.get(settings.id);
    const drawn = settings.lines.map((line) => column(line.column));
    plot.setData([moments, ...drawn]);
    const newestPoint = moments.findLastIndex((_, place) => drawn.some((values) => values[place] != null));
    if (plot.cursor.idx == null) plot.setLegend({ idx: newestPoint < 0 ? null : newestPoint });
    const values = known.run ? settings.lines.map((line) => `${line.label} ${settings.says(newest(line.column))}`) : ["nothing yet"];
    const title = byId(settings.id).parentElement.querySelector("h2").textContent;
    byId(settings.id).setAttribute("aria-label", `${title}: ${values.join(", ")}`);
  }
  fit(); // values may have made a legend higher
}

// a chart of telemetry appears with its first value
function isReported(settings, column) {
  const figure = byId(settings.id).parentElement;
  figure.hidden = !settings.lines.some((line) => column(line.column).some((value) => value != null));
  return !figure.hidden;
}

function fit() {
  for (const [id, plot] of plots) {
    const holder = byId(id), legend = plot.root.querySelector(".u-legend");
    const height = holder.clientHeight - (legend ? legend.offsetHeight : 0);
    if (holder.clientWidth && (plot.width !== holder.clientWidth || plot.height !== height)) {
      plot.setSize({ width: holder.clientWidth, height });
    }
  }
}

// ── the dark or light theme of Locust's page ──

const system = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const chosenTheme = localStorage.getItem("theme");
  root.dataset.theme = (chosenTheme ? chosenTheme === "dark" : system.matches) ? "dark" : "light";
  for (const plot of plots.values()) plot.destroy(); // the marks of a legend would keep their colours
  plots.clear();
  draw();
  fit();
}

addEventListener("storage", theme);
system.addEventListener("change", theme);

// ── requests to the master ──

let timer = 0, asking = false, failures = 0;

async function ask() {
  if (asking || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  try {
    const query = new URLSearchParams({ name: known.name, changes: known.changes });
    if (chosen != null) query.set("level", chosen);
    const answer = await fetch(`live.json?${query}`, { redirect: "manual", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.type === "opaqueredirect") return lost("You are logged out. Reload the page to log in.");
    if (!answer.ok) throw new Error(answer.statusText);
    const state = await answer.json();
    failures = 0;
    byId("connection").hidden = true;
    take(state);
  } catch (problem) {
    if (!["TypeError", "TimeoutError", "AbortError", "Error", "SyntaxError"].includes(problem.name)) throw problem;
    lost("Connection lost. Trying again.");
  } finally {
    asking = false;
    timer = setTimeout(ask, Math.min(EVERY * 2 ** failures, MAX_WAIT));
  }
}

function lost(words) {
  failures += 1;
  byId("connection").hidden = false;
  text(byId("connection"), words);
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(ask, 0);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
addEventListener("online", soon);

theme();
new ResizeObserver(fit).observe(document.querySelector("main"));
ask();
