// Pages work without this file, but for the player's times, flags, pictures and keys. Every state is in the address.
(() => {
  // The address of this page with a frame of a card: its link has no long query.
  function addressOf(cell) {
    const [, store, id] = /^(\d+):(.*)$/s.exec(cell.closest("[data-name]").dataset.name);
    return addressWith({ s: store === "0" ? null : store, v: id, t: String(Number(cell.dataset.t)) });
  }

  // The address: what is selected in it changes without another page.
  function addressWith(changes) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === "") url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    return url;
  }
  const question = (url) => {
    const params = new URLSearchParams(url.search);
    for (const name of ["v", "s", "t", "masks", "show"]) params.delete(name);
    return `${url.pathname}?${params}`;
  };

  // Browsers cut times to whole microseconds, which shows the frame before the one that begins then: seek a little later.
  const LATER = 0.001;

  // How a video plays, once it can.
  async function aboutMedia(href) {
    try {
      return await (await fetch(href, { headers: { accept: "application/json" } })).json();
    } catch {
      return { problem: "The server does not answer." };
    }
  }

  // The player.
  let player = null;
  class Player {
    constructor(section, plays, about) {
      this.section = section;
      this.video = $("#video", section);
      this.state = $("#media-state", section);
      this.stored = $("#stored", section);
      this.offset = 0;
      this.start = Number(section.dataset.start);
      this.end = section.dataset.end === undefined ? Infinity : Number(section.dataset.end);
      this.at = Number(section.dataset.t);
      const cells = all(".strip:not(.masked) .cell", section);
      this.frames = cells.map((cell) => ({ slot: cell.dataset.slot, t: Number(cell.dataset.t), isBest: cell.classList.contains("best") }));
      this.slot = null;
      this.listen();
      this.show(this.at);
      this.open(plays, about ?? aboutMedia(section.dataset.media));
    }

    async open(plays, asked) {
      const about = await asked;
      if (player !== this) return;
      if (about.problem) {
        this.state.textContent = about.problem;
        this.section.dataset.ready = "problem";
        return;
      }
      this.offset = about.offset;
      this.video.addEventListener("loadedmetadata", () => {
        this.seek(this.at, false);
        if (plays) this.video.play().catch(() => {});
      }, { once: true });
      this.video.addEventListener("error", () => {
        this.state.hidden = false;
        this.state.textContent = "This browser cannot play the video.";
        this.section.dataset.ready = "problem";
      });
      this.video.src = about.url;
      this.state.textContent = about.note ? `Note: ${about.note}` : "";
      this.state.classList.toggle("below", Boolean(about.note));
      this.section.dataset.way = about.way;
    }

    get time() { return this.video.readyState ? Math.max(0, this.video.currentTime + this.offset - LATER) : this.at; }

    seek(seconds, keeps = true) {
      this.at = Math.max(0, seconds);
      if (this.video.readyState) this.video.currentTime = Math.max(0, this.at - this.offset) + LATER;
      this.show(this.at);
      if (keeps) this.keep();
    }

    listen() {
      const video = this.video;
      const follow = () => {
        if (video.seeking) return;
        this.at = this.time;
        if (this.at >= this.end && !video.paused) {
          video.pause();
          this.seek(this.end);
        }
        this.show(this.at);
      };
      video.addEventListener("timeupdate", follow);
      video.addEventListener("seeked", () => {
        this.section.dataset.ready = "yes";
        follow();
        if (this.isMoved) this.keep();
      });
      video.addEventListener("pause", () => this.keep());
      video.addEventListener("play", () => { this.isMoved = true; if (this.time >= this.end) this.seek(this.start); });
      video.addEventListener("seeking", () => { this.show(this.time); });
      video.addEventListener("pointerdown", () => { this.isMoved = true; });
      video.addEventListener("keydown", () => { this.isMoved = true; });
      if (video.requestVideoFrameCallback) {
        const step = () => { if (player !== this) return; if (!video.paused) this.show(this.time); video.requestVideoFrameCallback(step); };
        video.requestVideoFrameCallback(step);
      }
    }

    // The time goes into the address.
    keep() {
      history.replaceState(history.state, "", addressWith({ t: this.at.toFixed(3).replace(/\.?0+$/, "") }));
      const link = $("#page-link", this.section);
      if (link) {
        const url = new URL(link.href);
        url.searchParams.set("t", this.at.toFixed(3));
        link.href = url;
      }
    }

    get masks() { const select = $("#masks"); return select ? select.value : this.section.dataset.mask; }
    get way() { const chosen = $("#mask-options input:checked"); return chosen ? chosen.value : "none"; }

    // The stored frame that is shown at a time, with its mask.
    show(seconds) {
      if (!this.stored || !this.frames.length) return;
      let found = this.frames[0];
      for (const frame of this.frames) if (frame.t <= seconds + LATER) found = frame;
      const way = this.masks ? this.way : "none";
      const source = `${this.section.dataset.frame}&slots=${found.slot}` + (way === "none" ? "" : `&masks=${encodeURIComponent(this.masks)}&show=${way}`);
      if (this.stored.getAttribute("src") !== source) {
        this.stored.src = source;
        this.stored.alt = `Stored frame at ${clock(found.t)}${way === "none" ? "" : ", with what moves shown"}`;
        $("#stored-at", this.section).textContent = `stored frame ${clock(found.t)}`;
        for (const cell of all(".cell", this.section)) cell.classList.toggle("now", cell.dataset.slot === found.slot);
      }
      this.slot = found.slot;
    }

    step(by) {
      const now = this.frames.findIndex((frame) => frame.slot === this.slot);
      const next = this.frames[Math.min(this.frames.length - 1, Math.max(0, now + by))];
      if (!next) return;
      this.video.pause(); // a single frame is to be looked at
      this.seek(next.t);
    }

    best() {
      const best = this.frames.find((frame) => frame.isBest);
      if (!best) return;
      this.video.pause();
      this.seek(best.t);
    }

    toggle() {
      this.isMoved = true;
      if (this.video.paused) this.video.play().catch(() => {});
      else this.video.pause();
    }

    close() {
      this.video.removeAttribute("src");
      this.video.load();
    }
  }

  function startPlayer(plays, about) {
    const section = $("#player");
    player = section ? new Player(section, plays, about) : null;
    showFlags();
  }

  // Opens a video beside the list, at an address of this page.
  let opening = 0;
  async function openVideo(href, { plays = true, pushes = true } = {}) {
    const url = new URL(href, location.href);
    const mine = ++opening;
    const panel = $("#panel"), columns = $("#columns");
    if (player && player.section.dataset.name === `${url.searchParams.get("s") ?? 0}:${url.searchParams.get("v")}`) {
      if (pushes) history.pushState(null, "", url);
      player.isMoved = true;
      if (url.searchParams.has("t")) player.seek(Number(url.searchParams.get("t")));
      if (plays) player.video.play().catch(() => {});
      return;
    }
    let html = "", about;
    if (url.searchParams.get("v")) {
      about = aboutMedia(`/media/about?${new URLSearchParams({ s: url.searchParams.get("s") ?? "0", id: url.searchParams.get("v") })}`);
      const answer = await fetch(`/panel${url.search}`);
      if (!answer.ok) { say("The video cannot be opened."); return; }
      html = await answer.text();
    }
    if (mine !== opening) return;
    if (pushes) history.pushState(null, "", url);
    if (player) player.close();
    panel.replaceChildren(document.createRange().createContextualFragment(html));
    columns.classList.toggle("with-player", Boolean(html));
    markSelected();
    startPlayer(plays && Boolean(html), about);
    if (html && matchMedia("(max-width: 63.99rem)").matches) panel.scrollIntoView({ block: "start" });
  }

  function markSelected() {
    const params = new URLSearchParams(location.search);
    const name = params.get("v") ? `${params.get("s") ?? 0}:${params.get("v")}` : "";
    for (const card of all(".card")) card.classList.toggle("selected", card.dataset.name === name);
  }

  addEventListener("popstate", () => {
    if (question(location) !== shownQuestion) location.reload();
    else openVideo(location.href, { plays: false, pushes: false });
  });
  const shownQuestion = question(location);

  // Going from card to card.
  let current = -1;
  function goTo(place) {
    const cards = all(".card");
    if (!cards.length) return;
    current = Math.min(cards.length - 1, Math.max(0, place));
    cards.forEach((card, number) => card.classList.toggle("current", number === current));
    $(".poster", cards[current]).focus({ preventScroll: true });
    cards[current].scrollIntoView({ block: "nearest" });
  }
  function inRow() {
    const tops = all(".card").map((card) => card.getBoundingClientRect().top);
    return Math.max(1, tops.filter((top) => Math.abs(top - tops[0]) < 4).length);
  }

  // Flags are kept by this browser, each as the number of its store and the id.
  const FLAGS = `fda.flags.${location.host}`;
  function flags() {
    try {
      const kept = JSON.parse(localStorage.getItem(FLAGS));
      return Array.isArray(kept) ? kept.filter((name) => typeof name === "string") : [];
    } catch { return []; }
  }
  function keepFlags(names) {
    try { localStorage.setItem(FLAGS, JSON.stringify(names)); } catch { say("This browser keeps nothing, so there are no flags."); }
    showFlags();
  }
  function flag(name) {
    const names = flags();
    const isFlagged = names.includes(name);
    keepFlags(isFlagged ? names.filter((one) => one !== name) : [...names, name]);
    say(isFlagged ? "Flag taken off" : "Flagged");
  }
  function showFlags() {
    const names = new Set(flags());
    for (const button of all(".flag")) {
      const owner = button.closest("[data-name]");
      button.setAttribute("aria-pressed", String(Boolean(owner) && names.has(owner.dataset.name)));
    }
    const link = $("#flagged");
    link.hidden = names.size === 0;
    link.href = `/list?${new URLSearchParams([...names].map((name) => ["f", name]))}`;
    $("#num-flagged").textContent = names.size;
  }

  // Searching by a picture.
  async function givePicture(file) {
    if (!file) return;
    document.body.classList.add("busy");
    let answer;
    try {
      answer = await (await fetch("/image", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } })).json();
    } catch { answer = { problem: "The server does not answer." }; }
    document.body.classList.remove("busy");
    if (answer.problem) { say(answer.problem); return; }
    const url = addressWith({ image: answer.image, q: null, kind: null, page: null, v: null, s: null, t: null });
    url.pathname = "/";
    location.assign(url);
  }

  addEventListener("click", (event) => {
    const button = event.target.closest(".flag");
    if (button) { flag(button.closest("[data-name]").dataset.name); return; }
    if (event.target.closest("#show-keys")) { $("#keys").showModal(); return; }
    if (event.target.closest("#unflag-all")) { keepFlags([]); say("All flags are taken off"); return; }
    if (event.target.closest("#copy-link")) {
      navigator.clipboard.writeText(location.href).then(() => say("Link copied"), () => say(location.href));
      return;
    }
    for (const open of all(".facet[open]")) if (!open.contains(event.target)) open.open = false;
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const cell = event.target.closest(".player .cell");
    if (cell && player) { event.preventDefault(); player.isMoved = true; player.seek(Number(cell.dataset.t)); return; }
    const link = event.target.closest(".card .poster, .card .cell, .player .close");
    if (link && $("#columns")) { event.preventDefault(); openVideo(link.classList.contains("cell") ? addressOf(link) : link.href); }
  });

  addEventListener("change", (event) => {
    if (event.target.closest("#mask-options") && player) {
      player.stored.removeAttribute("src");
      player.show(player.time);
      history.replaceState(history.state, "", addressWith({ masks: $("#masks") ? player.masks : null, show: player.way === "dim" ? null : player.way }));
    } else if (event.target.id === "picture") givePicture(event.target.files[0]);
    else if (event.target.closest(".box .options")) $("#box").requestSubmit();
  });

  addEventListener("submit", (event) => {
    if (event.target.id !== "box") return;
    for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
    const features = event.target.elements.features;
    if (features && features.selectedIndex === 0) features.disabled = true;
    document.body.classList.add("busy");
  });
  addEventListener("pageshow", () => {
    document.body.classList.remove("busy");
    for (const field of all("#box [disabled]")) field.disabled = false;
  });

  addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    givePicture([...event.dataTransfer.files].find((file) => file.type.startsWith("image/")));
  });
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (file) { event.preventDefault(); givePicture(file); }
  });

  const KEYS = {
    "/": () => { $("#q").focus(); $("#q").select(); },
    "?": () => $("#keys").showModal(),
    ArrowRight: () => goTo(current + 1),
    ArrowLeft: () => goTo(current - 1),
    ArrowDown: () => goTo(current < 0 ? 0 : current + inRow()),
    ArrowUp: () => goTo(current - inRow()),
    " ": () => {
      const card = all(".card")[current];
      if (player && !(card && document.activeElement === $(".poster", card) && card.dataset.name !== player.section.dataset.name)) player.toggle();
      else if (card) openVideo(card.dataset.url);
    },
    ",": () => player && player.step(-1),
    ".": () => player && player.step(1),
    b: () => player && player.best(),
    m: () => {
      const ways = all("#mask-options input");
      if (!ways.length) return;
      const next = ways[(ways.findIndex((one) => one.checked) + 1) % ways.length];
      next.checked = true;
      next.dispatchEvent(new Event("change", { bubbles: true }));
    },
    f: () => {
      const card = all(".card")[current];
      const owner = card && document.activeElement === $(".poster", card) ? card : (player && player.section) || card;
      if (owner) flag(owner.dataset.name);
    },
    n: () => $("a[rel=next]")?.click(),
    p: () => $("a[rel=prev]")?.click(),
    Escape: () => { const close = $(".player .close"); if (close) openVideo(close.href); },
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    const tag = event.target.tagName;
    if (event.key === "Escape" && event.target.id === "q") { event.target.blur(); return; }
    if (event.target.id === "give-picture" && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); $("#picture").click(); return; }
    if (tag === "INPUT" && event.target.type !== "radio" || tag === "TEXTAREA" || tag === "SELECT") return;
    if ((tag === "BUTTON" || tag === "SUMMARY") && event.key === " ") return;
    if ((tag === "VIDEO" || event.target.type === "radio") && (event.key.startsWith("Arrow") || event.key === " ")) return;
    const does = KEYS[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  addEventListener("focusin", (event) => {
    const card = event.target.closest?.(".card");
    if (card) current = all(".card").indexOf(card);
  });

  // Counts that take long come when they are there.
  async function countMore() {
    const answer = await fetch(`/facets${location.search}`).catch(() => null);
    if (answer && answer.ok) $("#facets").replaceWith(document.createRange().createContextualFragment(await answer.text()));
  }

  startPlayer(false);
  showFlags();
  if ($("#more-facets")) countMore();
  document.body.dataset.ready = "yes";
})();
