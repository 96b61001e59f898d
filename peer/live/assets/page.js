"use strict";
/* The page of a run. Facts come in, newest last; what is shown is a view of them at one round.
   Nothing is fetched and nothing is sent. */

const MANY = 8;         // lines in a chart that can be told apart; of more: median and extremes
const FEW_NODES = 24;   // in the graph, that have room for a text
const SECONDS = 20;     // of the whole run, played at normal speed
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#5A4FCF",
  "#8A8A8A", "#C9B800", "#A0522D"];

const one = (id) => document.getElementById(id);
const colourOf = (n) => n < COLOURS.length ? COLOURS[n] : `hsl(${(n * 137.5) % 360} 60% 50%)`;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function made(tag, attributes = {}, text = null) {
  const svg = ["line", "circle", "path", "text", "g", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

function number(x) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size >= 10000) return x.toLocaleString("en", {maximumFractionDigits: 0});
  if (size >= 100) return x.toFixed(0);
  if (size >= 1) return x.toFixed(2);
  return size === 0 ? "0" : x.toPrecision(2);
}

function bytes(x) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (x >= 1000 && unit < units.length - 1) { x /= 1000; unit += 1; }
  return `${unit && x < 100 ? x.toFixed(1) : Math.round(x)} ${units[unit]}`;
}

function time(seconds) {
  if (seconds < 120) return `${number(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min ${Math.floor(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/* ---- facts ---- */

class Facts {
  constructor(network) {
    this.network = network;
    this.of = {};  // by kind and peer (null: of all), in the order of rounds
    this.events = [];
    this.last = 0;
    this.measure = "score";
    this.heard = new Map();  // when a peer last told something, in a page that follows a run
    this.isLive = false;
    this.lead = 0;  // of our clock before that of whoever tells when it heard
  }

  /* Of a kind, a peer and a round there is one: what is told again takes its place. */
  add(fact) {
    if (fact.kind === "event") { this.events.push(fact); return; }
    this.last = Math.max(this.last, fact.round);
    const facts = (this.of[`${fact.kind} ${fact.peer}`] ||= []);
    let place = facts.length;
    while (place && facts[place - 1].round > fact.round) place -= 1;
    const told = place && facts[place - 1].round === fact.round
      && !["state", "cut"].includes(fact.kind);
    facts.splice(told ? place - 1 : place, told ? 1 : 0, fact);
    if (fact.kind === "score") this.measure = fact.measure;
    if (fact.kind === "round") {
      const at = fact.heard === undefined ? performance.now() : 1000 * fact.heard + this.lead;
      this.heard.set(fact.peer, at);
    }
  }

  series(kind, peer) { return this.of[`${kind} ${peer}`] || []; }

  /* The newest fact of a kind at a round; null before the first. */
  at(kind, peer, round) {
    const facts = this.series(kind, peer);
    let low = 0, high = facts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (facts[middle].round <= round) low = middle + 1; else high = middle;
    }
    return low ? facts[low - 1] : null;
  }

  /* What became of a peer, if it says nothing more while others go on; else empty. */
  silence(peer, round) {
    const facts = this.series("round", peer);
    if (!facts.length) return this.isLive ? "" : "no record";
    const last = facts[facts.length - 1].round;
    if (this.isLive) {
      const newest = Math.max(...this.heard.values());
      const age = (performance.now() - this.heard.get(peer)) / 1000;
      if (newest - this.heard.get(peer) < this.network.silent * 1000) return "";
      return `silent for ${Math.round(age)} s`;
    }
    return round > last + this.network.every * 2 && last < this.last
      ? `silent since round ${last.toLocaleString("en")}` : "";
  }

  /* Whether somebody has cut the link of these two. */
  isCut(a, b) {
    const cut = this.at("cut", null, Infinity)?.links ?? [];
    return cut.some(([p, q]) => (p === a && q === b) || (p === b && q === a));
  }

  /* What is known of a peer's process: empty while it runs. */
  state(peer) { return this.at("state", peer, Infinity)?.text ?? ""; }
}

/* ---- the graph ---- */

class Graph {
  constructor(facts, choose) {
    this.facts = facts;
    const {peers, links} = facts.network;
    const svg = one("graph");
    const few = peers.length <= FEW_NODES;
    this.place = new Map(peers.map((peer, i) => [peer.id, i]));
    const radius = few ? 0.115 : Math.max(0.02, 0.5 / Math.sqrt(peers.length));
    this.lines = links.map(([a, b]) => {
      const [p, q] = [a, b].map((k) => peers[this.place.get(k)]);
      return svg.appendChild(made("line", {x1: p.x, y1: -p.y, x2: q.x, y2: -q.y,
        "stroke-width": links.length <= 60 ? 0.014 : links.length <= 400 ? 0.006 : 0.002}));
    });
    this.nodes = peers.map((peer) => {
      const group = svg.appendChild(made("g", {class: "node", tabindex: few ? 0 : -1,
        role: "button", "aria-label": `peer ${peer.id}, holds ${peer.holds}`,
        transform: `translate(${peer.x} ${-peer.y})`}));
      group.appendChild(made("title", {}, `peer ${peer.id}: ${peer.holds}`));
      group.appendChild(made("circle", {class: "rim", r: radius, "stroke-width": radius * 0.13}));
      this.slices(group, peer.classes, radius * 0.86);
      if (few) {
        group.appendChild(made("text", {"font-size": 0.1}, String(peer.id)));
        // Away from the middle, where links are rare.
        const away = Math.hypot(peer.x, peer.y) < 0.05 ? [0, 1]
          : [peer.x / Math.hypot(peer.x, peer.y), peer.y / Math.hypot(peer.x, peer.y)];
        if (peers.length <= 12) {
          group.appendChild(made("text", {class: "holds", "font-size": 0.07,
            x: 0, y: (away[1] >= -0.2 ? -1 : 1) * (radius + 0.07)}, peer.holds));
        }
      }
      group.addEventListener("click", () => choose(peer.id));
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter") choose(peer.id);
      });
      return group;
    });
    this.explain(peers);
  }

  slices(group, classes, radius) {
    if (classes.length === 1) {
      group.appendChild(made("circle", {r: radius, fill: colourOf(classes[0])}));
    }
    if (classes.length < 2 || classes.length > 12) return;
    classes.forEach((each, i) => {
      const [from, to] = [i, i + 1].map((n) => 2 * Math.PI * n / classes.length - Math.PI / 2);
      const point = (angle) => `${radius * Math.cos(angle)} ${radius * Math.sin(angle)}`;
      const long = to - from > Math.PI ? 1 : 0;
      group.appendChild(made("path", {fill: colourOf(each),
        d: `M0 0L${point(from)}A${radius} ${radius} 0 ${long} 1 ${point(to)}Z`}));
    });
  }

  explain(peers) {
    const key = one("key");
    const shown = [...new Set(peers.flatMap((peer) => peer.classes))].sort((a, b) => a - b);
    if (shown.length <= 20) {
      for (const each of shown) {
        const item = key.appendChild(made("li"));
        item.appendChild(made("i", {style: `background:${colourOf(each)}`}));
        item.append(this.facts.network.class_names[each] ?? String(each));
      }
    }
    const kinds = [["link", "swaps"], ["link missed", "went on without"]];
    if (given.live?.link_actions.length) kinds.push(["link cut", "cut by hand"]);
    for (const [name, text] of kinds) {
      const item = key.appendChild(made("li"));
      item.appendChild(made("i", {class: name}));
      item.append(text);
    }
  }

  show(round, chosen) {
    const {peers, links} = this.facts.network;
    const newest = peers.map((peer) => this.facts.at("round", peer.id, round));
    links.forEach(([a, b], i) => {
      const [one, other] = [a, b].map((k) => newest[this.place.get(k)]);
      const missed = one?.missing.includes(b) || other?.missing.includes(a);
      this.lines[i].setAttribute("class", this.facts.isCut(a, b) ? "cut" : missed ? "missed" : "");
    });
    peers.forEach((peer, i) => {
      const silent = this.facts.silence(peer.id, round) || this.facts.state(peer.id);
      this.nodes[i].setAttribute("class",
        `node${silent ? " silent" : ""}${peer.id === chosen ? " chosen" : ""}`);
    });
  }
}

/* ---- the curves ---- */

class Charts {
  constructor(facts) {
    this.facts = facts;
    this.box = one("charts");
    this.plans = [];
    this.chosen = null;
    this.refresh();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.refresh(true); this.show(this.round ?? this.facts.last, this.chosen);
    });
    new ResizeObserver(() => this.resize()).observe(this.box);
  }

  /* Take in what has come. Charts are built anew where there are others than before. */
  refresh(anew = false) {
    const {facts} = this;
    const {nets, peers} = facts.network;
    const before = JSON.stringify(this.plans.map(({title, columns}) =>
      [title, columns.map((column) => column.label)]));
    const old = this.plans;
    this.plans = [];
    if (peers.some((peer) => facts.series("score", peer.id).length)) {
      this.plans.push({title: `${facts.measure}, lower is better`, log: false, peers: true,
        value: (fact) => fact.value, kind: "score"});
    }
    if (facts.series("disagreement", null).length) {
      const names = [...new Set(Object.values(facts.network.bounds).map((bound) => bound.name))];
      this.plans.push({title: [facts.network.disagreement, ...names.map((name) =>
        `dashed: ${name}`)].join("; "), log: true, nets, kind: "disagreement"});
    }
    this.plans.push({title: "Loss, mean over peers", log: false, nets, kind: "round"});
    for (const plan of this.plans) plan.columns = this.columns(plan);
    const now = JSON.stringify(this.plans.map(({title, columns}) =>
      [title, columns.map((column) => column.label)]));
    if (anew || before !== now) this.build();
    else this.plans.forEach((plan, i) => { plan.chart = old[i].chart; });
  }

  width() { return Math.max(240, this.box.clientWidth); }

  resize() {
    for (const plan of this.plans) plan.chart.setSize({width: this.width(), height: 190});
  }

  build() {
    this.box.replaceChildren();
    for (const plan of this.plans) {
      const holder = this.box.appendChild(made("div", {class: "chart"}));
      holder.appendChild(made("h3", {}, plan.title));
      const axis = {stroke: css("--soft"), grid: {stroke: css("--line"), width: 1},
        ticks: {stroke: css("--line"), width: 1}, font: "12px system-ui, sans-serif"};
      plan.chart = new uPlot({
        width: this.width(), height: 190, padding: [8, 24, 0, 0],
        cursor: {y: false}, legend: {live: true},
        scales: {x: {time: false, range: () => [0, Math.max(1, this.facts.network.rounds)]},
          y: plan.log ? {distr: 3} : {}},
        axes: [{...axis, size: 30}, {...axis, size: 62,
          grid: {...axis.grid, ...(plan.log ? {filter: powers} : {})},
          values: (_, splits) => splits.map((x) => x === null ? "" : number(x))}],
        series: [{label: "round", value: (_, x) => x === null ? "–" : x.toLocaleString("en")},
          ...plan.columns.map((column) => ({label: column.label, stroke: column.colour,
            width: column.width, dash: column.dash, spanGaps: true,
            points: {show: (chart) => chart.data[0].length < 2},
            value: (_, y) => number(y)}))],
      }, [[], ...plan.columns.map(() => [])], holder);
    }
  }

  /* What a chart's lines are: label, colour and the points (round, value). */
  columns(plan) {
    const {peers, bounds} = this.facts.network;
    const points = (kind, peer, value) => this.facts.series(kind, peer)
      .map((fact) => [fact.round, value(fact)]).filter(([, y]) => Number.isFinite(y));
    const colour = (net) => css(net.includes("generator") ? "--generator"
      : net.includes("discriminator") ? "--discriminator" : "--other");
    if (plan.peers) {
      const lines = peers.map((peer, i) => ({label: `peer ${peer.id}`, peer: peer.id,
        colour: colourOf(i), width: 1.8, points: points(plan.kind, peer.id, plan.value)}))
        .filter((line) => line.points.length);
      return lines.length <= MANY ? lines : this.spread(lines);
    }
    if (plan.kind === "disagreement") {
      const lines = plan.nets.map((net) => ({label: net, colour: colour(net), width: 1.8,
        points: points("disagreement", null, (fact) => positive(fact.values[net]))}));
      for (const net of plan.nets) {
        if (!bounds[net]) continue;
        lines.push({label: `${net}, bound`, colour: colour(net), width: 1.2,
          dash: [6, 5], always: true,
          points: [[0, bounds[net].value], [this.facts.network.rounds, bounds[net].value]]});
      }
      return lines.filter((line) => line.points.length);
    }
    return plan.nets.map((net) => ({label: net, colour: colour(net), width: 1.8,
      points: this.means(peers.map((peer) =>
        points("round", peer.id, (fact) => fact.losses[net] ?? NaN)))}))
      .filter((line) => line.points.length);
  }

  means(ofPeers) {
    const found = new Map();
    for (const [round, value] of ofPeers.flat()) {
      const [sum, n] = found.get(round) || [0, 0];
      found.set(round, [sum + value, n + 1]);
    }
    return [...found].sort((a, b) => a[0] - b[0]).map(([round, [sum, n]]) => [round, sum / n]);
  }

  spread(lines) {
    const found = new Map();
    for (const [round, value] of lines.flatMap((line) => line.points)) {
      if (!found.has(round)) found.set(round, []);
      found.get(round).push(value);
    }
    const rows = [...found].sort((a, b) => a[0] - b[0])
      .map(([round, values]) => [round, values.sort((a, b) => a - b)]);
    const line = (label, width, dash, place) => ({label, colour: css("--accent"), width, dash,
      points: rows.map(([round, values]) => [round, values[place(values.length)]])});
    return [line("median of the peers", 2, undefined, (n) => (n - 1) >> 1),
      line("lowest", 1, [3, 3], () => 0), line("highest", 1, [3, 3], (n) => n - 1)];
  }

  show(round, chosen) {
    this.round = round;
    if (chosen !== this.chosen) {
      this.chosen = chosen;
      for (const plan of this.plans) {
        plan.columns.forEach((column, i) => {
          if (column.peer === undefined) return;
          plan.chart.series[i + 1].width = column.peer === chosen ? 3.6 : 1.8;
        });
      }
    }
    for (const plan of this.plans) {
      const shown = plan.columns.map((column) => column.always ? column.points
        : column.points.filter(([x]) => x <= round));
      const rounds = [...new Set(shown.flat().map(([x]) => x))].sort((a, b) => a - b);
      const data = shown.map((points) => {
        const by = new Map(points);
        return rounds.map((x) => by.has(x) ? by.get(x) : null);
      });
      plan.chart.setData([rounds, ...data]);
    }
  }
}

/* Lines at the powers of ten alone. */
function powers(_, splits) {
  return splits.map((x) => Math.abs(Math.log10(x) % 1) < 1e-9 ? x : null);
}

function positive(x) { return x > 0 ? x : NaN; }  // a logarithm's axis has no zero

/* ---- a card for each peer, and the table ---- */

class Cards {
  constructor(facts, choose) {
    this.facts = facts;
    const box = one("cards");
    box.classList.toggle("many", facts.network.peers.length > FEW_NODES);
    this.cards = facts.network.peers.map((peer) => {
      const card = box.appendChild(made("button", {type: "button", class: "card"}));
      const image = card.appendChild(made("img", {alt: "", hidden: ""}));
      const none = card.appendChild(made("div", {class: "none"}, "no picture yet"));
      const title = card.appendChild(made("span"));
      title.appendChild(made("b", {}, `peer ${peer.id}`));
      title.append(` · ${peer.holds}`);
      title.title = peer.holds;
      const score = card.appendChild(made("span"));
      const state = card.appendChild(made("span"));
      card.addEventListener("click", () => choose(peer.id));
      return {peer, card, image, none, score, state, picture: null};
    });
  }

  show(round, chosen) {
    for (const each of this.cards) {
      const {id} = each.peer;
      const picture = this.facts.at("picture", id, round);
      if (picture !== each.picture) {
        each.picture = picture;
        each.image.hidden = !picture;
        each.none.hidden = Boolean(picture);
        if (picture) {
          each.image.src = `data:image/png;base64,${picture.png}`;
          each.image.alt = `what peer ${id} draws after round ${picture.round}`;
        }
      }
      if (!picture) {
        each.none.textContent = each.peer.draws ? "no picture yet" : "no pictures of this peer";
      }
      const score = this.facts.at("score", id, round);
      const covered = score && score.covered !== null ? `, covers ${score.covered}` : "";
      each.score.textContent = score
        ? `${this.facts.measure} ${number(score.value)}${covered}` : "–";
      const newest = this.facts.at("round", id, round);
      const silent = this.facts.state(id) || this.facts.silence(id, round);
      each.state.textContent = silent || (!newest ? "not begun"
        : newest.missing.length ? `without ${newest.missing.join(", ")}`
        : `round ${newest.round.toLocaleString("en")}`);
      each.card.classList.toggle("silent", Boolean(silent));
      each.card.classList.toggle("chosen", id === chosen);
      each.card.setAttribute("aria-pressed", String(id === chosen));
    }
  }
}

class Numbers {
  constructor(facts) {
    this.facts = facts;
    const {nets} = facts.network;
    const table = one("numbers");
    const head = table.appendChild(made("thead")).appendChild(made("tr"));
    for (const text of ["peer", "holds", "round", "score", "covers",
      ...nets.map((net) => `loss, ${net}`), "sent", "received", "without"]) {
      head.appendChild(made("th", {scope: "col"}, text));
    }
    const body = table.appendChild(made("tbody"));
    this.rows = facts.network.peers.map((peer) => {
      const row = body.appendChild(made("tr"));
      row.appendChild(made("th", {scope: "row"}, String(peer.id)));
      row.appendChild(made("td", {}, peer.holds));
      return Array.from({length: 6 + nets.length}, () => row.appendChild(made("td")));
    });
  }

  show(round) {
    this.facts.network.peers.forEach((peer, i) => {
      const newest = this.facts.at("round", peer.id, round);
      const score = this.facts.at("score", peer.id, round);
      const texts = [newest ? newest.round.toLocaleString("en") : "–",
        score ? number(score.value) : "–", score?.covered ?? "–",
        ...this.facts.network.nets.map((net) => number(newest?.losses[net])),
        newest ? bytes(newest.bytes_out) : "–", newest ? bytes(newest.bytes_in) : "–",
        newest?.missing.join(", ") || "–"];
      texts.forEach((text, j) => { this.rows[i][j].textContent = text; });
    });
  }
}

class Events {
  constructor(facts) {
    this.facts = facts;
    this.items = [];
    this.refresh();
  }

  refresh() {
    const list = one("events");
    for (const event of this.facts.events.slice(this.items.length)) {
      const item = made("li", {}, event.round === null ? event.text
        : `round ${event.round.toLocaleString("en")}: ${event.text}`);
      if (this.facts.isLive) list.prepend(item); else list.append(item);
      this.items.push({round: event.round, item});
    }
    if (!this.items.length && !this.facts.isLive) {
      list.append(made("li", {}, "Everybody swapped with everybody, all the time."));
    }
  }

  show(round) {
    for (const {round: at, item} of this.items) item.hidden = at !== null && at > round;
  }
}

/* ---- the whole ---- */

class Page {
  constructor(facts) {
    this.facts = facts;
    this.round = facts.last;
    this.chosen = null;
    this.isPlaying = false;
    this.isFollowing = facts.isLive;  // the newest round is shown
    const choose = (peer) => {
      this.chosen = this.chosen === peer ? null : peer;
      this.onChosen?.(this.chosen);
      this.show();
    };
    this.choose = choose;
    this.parts = [new Graph(facts, choose), new Charts(facts), new Cards(facts, choose),
      new Numbers(facts), new Events(facts)];
    one("round").max = facts.last;
    one("round").addEventListener("input", (event) => {
      this.stop();
      this.round = Number(event.target.value);
      this.isFollowing = this.facts.isLive && this.round >= this.facts.last;
      this.show();
    });
    one("play").addEventListener("click", () => this.isPlaying ? this.stop() : this.play());
    document.addEventListener("keydown", (event) => {
      const busy = event.target.closest?.("button, select, summary, input");
      if (event.key === " " && !busy) { event.preventDefault(); one("play").click(); }
    });
    one("pictures-note").textContent = facts.network.pictures;
    this.show();
  }

  play() {
    if (this.round >= this.facts.last) this.round = 0;
    this.isPlaying = true;
    this.isFollowing = false;
    one("play").textContent = "Pause";
    let before = null;
    const step = (now) => {
      if (!this.isPlaying) return;
      const passed = before === null ? 0 : Math.min(0.25, (now - before) / 1000);
      before = now;
      const pace = this.facts.last / SECONDS * Number(one("speed").value);
      this.round = Math.min(this.facts.last, this.round + passed * pace);
      this.show();
      if (this.round >= this.facts.last) {
        this.stop();
        this.isFollowing = this.facts.isLive;
        return;
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  stop() {
    this.isPlaying = false;
    one("play").textContent = "Play";
  }

  /* Facts have come. */
  refresh() {
    one("round").max = this.facts.last;
    if (this.isFollowing) this.round = this.facts.last;
    for (const part of this.parts) part.refresh?.();
    this.show();
  }

  show() {
    const round = Math.floor(this.round);
    one("round").value = round;
    const {peers, rounds, clock} = this.facts.network;
    const ats = peers.map((peer) => this.facts.at("round", peer.id, round)?.at ?? 0);
    one("now").textContent = `round ${round.toLocaleString("en")} of ${rounds.toLocaleString("en")}`
      + ` · ${time(Math.max(0, ...ats))}${clock === "virtual" ? " of virtual time" : ""}`;
    for (const part of this.parts) part.show(round, this.chosen);
  }
}

const given = JSON.parse(one("facts").textContent);
const all = new Facts(given.network);
all.isLive = given.live !== null;
if (typeof given.live?.now === "number") all.lead = performance.now() - 1000 * given.live.now;
for (const fact of given.facts) all.add(fact);
window.page = new Page(all);
