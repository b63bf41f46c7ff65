// Keeps one <video> honest with streamer: asks to start, reports while it plays, and stops when it is told to.
// Copy this file: it needs no package, and knows nothing of the page but the element. The oldest browsers that run it are
// Chrome 85, Firefox 90 and Safari 15; among televisions webOS 22 and Tizen 6.5.
//
//                 play            200, 201             pause
//       idle ───────────▶ starting ──────▶ playing ◀─────────▶ paused
//                          ▲  │ ▲  404        │         play      │
//            replaceWith() │  │ └─────────────┤                   │
//                          │  ▼ 409           │ 410    409        │
//                          full ◀─────────────┼───────────────────┘
//                                             ▼   412
//       any state ── 403 ▶ held            stopped      any state ── 401, 400 ▶ failed
//
// `play` leads out of every state. No answer, a time-out, 503 and the like are no state: the video plays on, `reached`
// turns false, and the same thing is said again, later and later. Nothing is said of a video that was never started.

const TICK_MS = 500;
const TIMEOUT_MS = 10_000;

/**
 * A name for this tab, the same after a reload. It is taken out of the storage while the tab lives, since "duplicate
 * this tab" copies the storage, and two tabs are two devices.
 */
export function deviceOfTab() {
  const device = sessionStorage.getItem('device') ?? `tab-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  sessionStorage.removeItem('device');
  addEventListener('pageshow', () => sessionStorage.removeItem('device'));
  addEventListener('pagehide', () => sessionStorage.setItem('device', device));
  return device;
}

export class Watch {
  state = 'idle';
  problem = null; // Why it is full, held, stopped or failed: the server's own words.
  reached = true; // Did the server answer last time?
  unlisted = false; // It did, and the browser kept the answer from us: `--cors` does not list this page's origin.
  pass = null; // The newest one, where the server gives passes.
  last = null; // The last call and its answer, for a log.

  #life = new AbortController(); // Ends what listens.
  #active = false; // Does the server know this stream, as far as we know?
  #generation = null; // Which start of the stream is ours: its ETag.
  #counted = true; // Not while the server's store is away.
  #replace = null; // The stream that the viewer gives up for this one.
  #busy = false; // One call at a time: a pause never overtakes the play before it.
  #again = false; // Something happened meanwhile.
  #lease = 90_000; // The server says how long it really is.
  #failures = 0;
  #asked = 0; // When we last called, and when we are to call again, in wall time.
  #due = Infinity;

  /**
   * `authorization(renew)` gives the header's value, or promises to; `renew` asks for a new one, since the last was refused.
   * `changed(watch)` is called after every answer and change of state.
   */
  constructor({ video, server, id, device, authorization, changed }) {
    Object.assign(this, { video, server, id, device, authorization, changed });
    this.url = `${server}/?${new URLSearchParams({ id, device })}`;

    const { signal } = this.#life;
    for (const event of ['play', 'pause', 'ended']) video.addEventListener(event, () => this.#tell(), { signal });
    // A hidden tab gets one timer a minute. A video that plays goes on telling the time.
    const timer = setInterval(() => this.#tick(), TICK_MS);
    signal.addEventListener('abort', () => clearInterval(timer));
    video.addEventListener('timeupdate', () => this.#tick(), { signal });
    addEventListener('online', () => this.#tell(), { signal });
    addEventListener('pagehide', () => this.#leave(), { signal });
    addEventListener('pageshow', (event) => event.persisted && this.#tell(), { signal });
  }

  /** For a page that shows another video in the same element: ends the stream and lets go of the element. */
  close() {
    this.#leave();
    this.#life.abort();
  }

  /** After a 409: ends that stream, one of `problem.streams`, and plays this one. */
  replaceWith(stream) {
    this.#replace = stream;
    this.video.play();
  }

  /** For a CDN that checks passes: a segment's URL with the newest one. */
  withPass(url) {
    const asked = new URL(url, location.href);
    if (this.pass) asked.searchParams.set('pass', this.pass);
    return asked.href;
  }

  /** What the server should know is read from the element each time: it cannot be out of date. */
  get #wish() {
    return this.video.ended ? 'ended' : this.video.paused ? 'paused' : 'playing';
  }

  /** Wall time goes on while a laptop sleeps, timers do not. A clock that was set back must not silence us. */
  #tick() {
    const now = Date.now();
    if (!this.#busy && (now >= this.#due || now < this.#asked)) this.#tell();
  }

  async #tell() {
    if (this.#life.signal.aborted) return;
    if (this.#busy) return void (this.#again = true);
    const wish = this.#wish;
    if (!this.#active && wish !== 'playing') return this.#settle();
    const starts = wish === 'playing' && (!this.#active || this.#replace || !this.#counted);
    const method = starts ? 'POST' : wish === 'ended' ? 'DELETE' : 'PATCH';
    const position = Math.floor(this.video.currentTime);
    this.#busy = true;
    this.#asked = Date.now();
    if (starts && this.state !== 'playing') this.#become('starting');
    const { leaving } = this;
    await leaving;
    const answer = await this.#call(method, { time: position, ...(method === 'PATCH' && { state: wish }) });
    this.#busy = false;
    if (this.#life.signal.aborted) return;
    this.#take(method, wish, answer);
    if (this.leaving !== leaving) this.#active = false; // The tab was left meanwhile, and the stream ended.
    this.last = { method, wish, position, ...answer };
    this.changed(this);
    if (this.#again) {
      this.#again = false;
      this.#tell();
    }
  }

  async #call(method, body) {
    const answer = await this.#ask(method, body, false);
    return answer.status === 401 ? this.#ask(method, body, true) : answer;
  }

  async #ask(method, body, renew) {
    const old = method === 'POST' && this.#replace;
    const replace = old ? `&${new URLSearchParams({ replace: old.id, ...(old.device && { replaceDevice: old.device }) })}` : '';
    // What this device ended while nothing was counted has its place yet.
    const query = method === 'POST' && !this.#counted ? `${replace}&switch` : replace;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
    try {
      this.credentials = await this.authorization(renew);
      const response = await fetch(this.url + query, {
        method, headers: this.#headers(method), signal: stop.signal, body: method === 'DELETE' ? undefined : JSON.stringify(body),
      });
      const retryAfter = Number(response.headers.get('Retry-After')) * 1000 || 0;
      return { ...(await response.json()), status: response.status, retryAfter, generation: response.headers.get('ETag') };
    } catch {
      // No network, no answer in time, or one from something in between; or one that this page may not read.
      const blind = { mode: 'no-cors', signal: stop.signal };
      const unlisted = await fetch(`${this.server}/healthz`, blind).then(() => true, () => false);
      return { status: 0, retryAfter: 0, unlisted };
    } finally {
      clearTimeout(timer);
    }
  }

  /** What is said of this stream is said of our start of it: a late word must not end the one after it. */
  #headers(method) {
    const ours = method !== 'POST' && this.#generation && { 'If-Match': this.#generation };
    return { Authorization: this.credentials, 'Content-Type': 'application/json', ...ours };
  }

  #take(method, wish, answer) {
    const { status, retryAfter } = answer;
    this.reached = ![0, 408, 429].includes(status) && status < 500;
    this.unlisted = Boolean(answer.unlisted);
    this.#failures = this.reached ? 0 : this.#failures + 1;
    if (answer.stream) this.#lease = answer.stream.expiresIn * 1000;
    this.#schedule(retryAfter);
    if (!this.reached) return;
    if (method === 'POST') this.#replace = null;
    if (status < 300) {
      this.#active = method !== 'DELETE';
      this.#generation = answer.generation;
      this.#counted = answer.counted !== false;
      this.pass = answer.pass ?? null;
      // While the viewer thinks about a question, heartbeats keep the paused stream and its position.
      if (!(this.state === 'full' && wish === 'paused')) this.#become(answer.stream?.state ?? 'idle');
    } else if (method !== 'POST' && (status === 404 || (status === 412 && method === 'DELETE'))) {
      // Its lease ran out, in a tunnel or asleep: start again without a word.
      this.#active = false;
      this.#again ||= wish === 'playing';
    } else if (status === 409) {
      this.#stop('full', answer);
    } else {
      this.#active = false;
      this.#stop({ 403: 'held', 410: 'stopped', 412: 'stopped' }[status] ?? 'failed', answer);
    }
  }

  /** A third of a lease: two may get lost. Never later, a little earlier, so that not all players call at once. */
  #schedule(retryAfter) {
    const third = Math.max(this.#lease / 3, 500);
    const wait = this.#failures === 0 ? third : Math.min(third, 500 * 2 ** this.#failures);
    this.#due = Date.now() + Math.max(wait * (0.8 + 0.2 * Math.random()), this.reached ? 0 : retryAfter);
  }

  #settle() {
    this.#due = Infinity;
    if (this.state === 'playing' || this.state === 'starting') this.#become('idle');
  }

  #become(state, problem = null) {
    Object.assign(this, { state, problem });
    this.changed(this);
  }

  #stop(state, problem) {
    this.#become(state, problem);
    this.video.pause();
  }

  /**
   * The tab closes, or goes where "back" may find it. `keepalive` lets the call outlive the page. A start that is under way
   * is left to its lease: without its generation we could hit the one after it.
   */
  #leave() {
    if (!this.#active) return;
    this.#active = false;
    const options = { method: 'DELETE', headers: this.#headers('DELETE'), keepalive: true };
    this.leaving = fetch(this.url, options).catch(() => {}); // Where it fails, the lease ends the stream.
  }
}
