"use strict";
/* A page that follows a run: facts come as server-sent events, and what may be done to a peer is
   asked for. It stands behind page.js, and only where there is a run to follow. */

class Live {
  constructor(page, {facts, actions, token, link_actions: linkActions}) {
    this.page = page;
    this.token = token;
    const source = new EventSource(facts);
    source.onmessage = (message) => {
      for (const fact of JSON.parse(message.data)) page.facts.add(fact);
      page.refresh();
    };
    source.onopen = () => this.say("");
    source.onerror = () => this.say("the run does not answer; it is asked again");
    source.addEventListener("end", () => {
      source.close();
      clearInterval(this.clock);
      page.facts.isLive = false;
      this.say("the run has ended");
      one("actions").hidden = true;
      page.show();
    });
    this.clock = setInterval(() => page.show(), 1000);  // ages
    if (!actions.length) return;
    page.onChosen = (peer) => this.offer(peer);
    for (const action of actions) {
      const button = one("buttons").appendChild(made("button", {type: "button"}, action));
      button.addEventListener("click", () => this.act(`peers/${this.page.chosen}/${action}`));
    }
    for (const action of linkActions) {
      const button = one("link-buttons").appendChild(made("button", {type: "button"}, action));
      button.addEventListener("click", () =>
        this.act(`links/${this.page.chosen}/${one("other").value}/${action}`));
    }
    this.canCut = linkActions.length > 0;
    one("pictures-note").append(" A click on a peer offers what may be done to it.");
  }

  say(text) { document.body.dataset.said = text; one("connection").textContent = text; }

  offer(peer) {
    one("actions").hidden = peer === null;
    one("acting").textContent = `peer ${peer}:`;
    one("acted").textContent = "";
    const others = this.page.facts.network.links.filter((link) => link.includes(peer))
      .map(([a, b]) => a === peer ? b : a).sort((a, b) => a - b);
    one("other").replaceChildren(...others.map((k) =>
      made("option", {value: k}, `peer ${k}`)));
    one("on-links").hidden = !this.canCut || !others.length;
  }

  async act(path) {
    one("acted").textContent = "…";
    try {
      const answer = await fetch(path, {method: "POST", headers: {"X-Token": this.token}});
      one("acted").textContent = (await answer.json()).said;
    } catch {
      one("acted").textContent = "the run did not answer";
    }
  }
}

window.live = new Live(window.page, given.live);
const asked = /^#peer-(\d+)$/.exec(location.hash);  // an address may name a peer
if (asked) window.page.choose(Number(asked[1]));
