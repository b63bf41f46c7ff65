// The page of the admin listener, in a real browser, against a real server:
//
//   node tests/browser/page.mjs PUBLIC_URL ADMIN_URL [--screenshot FILE]
//
// Needs node 20, chromedriver and Chromium (Debian: `apt install chromium chromium-driver`), and no package: the browser
// is driven by the W3C WebDriver protocol. Prints `N passed, M failed`, and exits with 1 where anything failed or a
// minute was too short. CHROMEDRIVER and CHROMIUM name other programs than those in the usual places.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values: { screenshot }, positionals } =
  parseArgs({ options: { screenshot: { type: 'string' } }, allowPositionals: true });
if (positionals.length !== 2) {
  console.error('usage: node tests/browser/page.mjs PUBLIC_URL ADMIN_URL [--screenshot FILE]');
  process.exit(2);
}
const [publicOrigin, adminOrigin] = positionals.map((url) => new URL(url).origin);

const ALLOWED_MS = 60_000;
/** The name under which WebDriver hands out elements. */
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';
const [ENTER, ESCAPE] = ['\uE007', '\uE00C'];

// What is checked.

let passed = 0, failed = 0;

function check(what, good, seen) {
  good ? passed += 1 : failed += 1;
  console.log(good ? `ok      ${what}` : `FAILED  ${what}: ${JSON.stringify(seen)}`);
}

const same = (what, seen, expected) => check(what, JSON.stringify(seen) === JSON.stringify(expected), seen);

/** Looks until `look` finds what `good` takes, or for 8 seconds. */
async function until(what, look, good) {
  const late = Date.now() + 8_000;
  let seen;
  do {
    seen = await look();
    if (good(seen)) break;
    await sleep(100);
  } while (Date.now() < late);
  check(what, good(seen), seen);
}

// The public listener, as a player sees it.

const user = `page-${randomBytes(4).toString('hex')}`;

function call(method, stream, body) {
  const query = new URLSearchParams(stream);
  return fetch(`${publicOrigin}/?${query}`, {
    method,
    headers: {
      Authorization: `Basic ${btoa(`${user}:secret`)}`,
      ...(body && { 'Content-Type': 'application/json' }),
    },
    body: body && JSON.stringify(body),
  });
}

// The browser.

const profile = mkdtempSync(join(tmpdir(), 'streamer-page-'));
let driver, session;

async function webdriver(method, path, body) {
  const answer = await fetch(driver.url + path, { method, body: body && JSON.stringify(body) });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
  return value;
}

/** Starts chromedriver on a port that is free, and a browser with a profile of its own. */
async function open() {
  const options = { stdio: ['ignore', 'pipe', 'ignore'], detached: true };
  const child = spawn(process.env.CHROMEDRIVER ?? 'chromedriver', ['--port=0'], options);
  driver = { child };
  const port = await new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
      const found = /successfully on port (\d+)/.exec(text);
      if (found) resolve(found[1]);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`chromedriver ended with ${code}: ${text}`)));
  });
  driver.url = `http://127.0.0.1:${port}`;
  const { sessionId } = await webdriver('POST', '/session', {
    capabilities: {
      alwaysMatch: {
        browserName: 'chrome',
        'goog:loggingPrefs': { browser: 'ALL', performance: 'ALL' },
        'goog:chromeOptions': {
          binary: process.env.CHROMIUM ?? '/usr/bin/chromium',
          args: [
            '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage',
            '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
            '--window-size=1280,1040', `--user-data-dir=${profile}`,
          ],
        },
      },
    },
  });
  session = `/session/${sessionId}`;
  // The browser's own first page asks for much; all that is asked from here on is asked by ours.
  await webdriver('POST', `${session}/url`, { url: 'about:blank' });
  await log('performance');
}

/** Ends all that was started. The browser ends with its session; whatever does not, with its process group. */
async function close() {
  if (session) await Promise.race([webdriver('DELETE', session).catch(() => {}), sleep(5_000)]);
  try {
    process.kill(-driver.child.pid, 'SIGKILL');
  } catch {
    // It never began.
  }
  // The browser may still be writing its last.
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

const run = (script, ...args) => webdriver('POST', `${session}/execute/sync`, { script: `return ${script}`, args });
const text = (selector) => run('document.querySelector(arguments[0])?.innerText ?? null', selector);
const texts = (selector) => run('[...document.querySelectorAll(arguments[0])].map((node) => node.innerText)', selector);
const numberAt = async (selector) => Number((await text(selector)).replaceAll(',', '').split(' ')[0]);
const log = (type) => webdriver('POST', `${session}/se/log`, { type });
const cdp = (cmd, params) => webdriver('POST', `${session}/goog/cdp/execute`, { cmd, params });

async function element(selector) {
  const found = await webdriver('POST', `${session}/element`, { using: 'css selector', value: selector });
  return `${session}/element/${found[ELEMENT]}`;
}

const click = async (selector) => webdriver('POST', `${await element(selector)}/click`, {});
const type = async (selector, keys) => webdriver('POST', `${await element(selector)}/value`, { text: keys });

async function search(name) {
  await webdriver('POST', `${await element('#user')}/clear`, {});
  await type('#user', name + ENTER);
}

// The test.

/** A stream whose names are as bad as names may be: they are data, in a URL and in a document. */
const NASTY = { id: '<img src=x onerror=alert(1)> & + % é', device: 'a=b&c' };
const [TV, PHONE] = [{ id: 'match', device: 'tv' }, { id: 'match', device: 'phone' }];

async function numbersMove() {
  await webdriver('POST', `${session}/url`, { url: `${adminOrigin}/` });
  await until('the page shows numbers', () => text('#playing b'), (shown) => /^[\d,]+$/.test(shown));
  const [playing, refusals] = [await numberAt('#playing b'), await numberAt('#refusals .note')];

  for (const stream of [TV, PHONE, NASTY]) same(`POST of ${stream.device}`, (await call('POST', stream)).status, 201);
  await until('three more are playing', () => numberAt('#playing b'), (n) => n >= playing + 3);
  const named = (title) => /^[\d,]+ playing · streamer$/.test(title);
  await until('the title says how many', () => run('document.title'), named);

  same('POST of one too many', (await call('POST', { id: 'fourth' })).status, 409);
  await until(
    'it is refused in the list', () => texts('#latest tr'),
    (rows) => rows.some((row) => row.includes(user) && row.includes('fourth') && /refused\s+3 of 3/.test(row)),
  );
  await until('and counted', () => numberAt('#refusals .note'), (n) => n > refusals);
  await until('and in the chart', () => text('#refusals .max'), (max) => Number(max.replace('max ', '')) > 0);

  // A player's heartbeats, for some seconds.
  const beats = (async () => {
    for (let i = 0; i < 60; i += 1) {
      const beat = async () => (await call('PATCH', TV, { time: i })).text();
      await Promise.all([beat(), beat(), beat(), beat()]);
      await sleep(50);
    }
  })();
  await until('requests per second rise', () => numberAt('#requests b'), (n) => n > 10);
  const line = () => run('document.querySelector("#requests path").getAttribute("d")');
  await until('the chart has a line', line, (d) => /^M[\d.]+ [\d.]+L/.test(d));
  await until('p99 is a time', () => text('#p99'), (shown) => /^(> )?[\d.,]+ (µs|ms|s)$/.test(shown));
  for (const id of ['connections', 'cpu', 'memory']) {
    await until(`${id} is a number`, () => text(`#${id}`), (shown) => /^\d/.test(shown));
  }
  await beats;
}

async function oneUser() {
  await search(user);
  await until('the search shows the streams', () => texts('#streams .about'), (rows) => rows.length === 3);
  same('how many of how many', await text('#who'), `${user} plays 3 of 3 streams`);
  const nasty = await texts('#streams .video');
  check('a name is shown as it is', nasty.includes(NASTY.id), nasty);
  same('and makes no element', await run('document.images.length'), 0);
  if (screenshot) writeFileSync(screenshot, Buffer.from(await webdriver('GET', `${session}/screenshot`), 'base64'));

  const row = (stream) => `#streams [data-end="?${new URLSearchParams(stream)}"]`;
  await click(`${row(PHONE)} .ask`);
  same('asking ends nothing', (await call('PATCH', PHONE)).status, 200);
  same('the focus is on what does no harm', await run('document.activeElement.className'), 'keep');
  await sleep(1_500);
  same('a refresh keeps the question and the focus', await run('document.activeElement.className'), 'keep');
  await type(`${row(PHONE)} .keep`, ESCAPE);
  same('Escape takes the question back', await texts(`${row(PHONE)} button:not([hidden])`), ['End']);

  await click(`${row(PHONE)} .ask`);
  await click(`${row(PHONE)} .yes`);
  await until('the stream is gone', () => texts('#streams li'), (rows) => rows.length === 2);
  await until('the page says so', () => text('#notice'), (said) => said === 'Ended match on phone.');
  const gone = await call('PATCH', PHONE);
  same('its player learns why', [gone.status, (await gone.json()).reason], [410, 'stopped']);
  same('the others play on', (await call('PATCH', TV)).status, 200);

  await click(`${row(NASTY)} .ask`);
  await click(`${row(NASTY)} .yes`);
  await until('a bad name can be ended too', () => texts('#streams li'), (rows) => rows.length === 1);

  await click('#all .ask');
  await click('#all .yes');
  await until('all are gone', () => text('#who'), (shown) => shown === `${user} plays 0 of 3 streams`);
  same('the last player learns it', (await call('PATCH', TV)).status, 410);

  await run('document.querySelector("#user").value = ""');
  const theirs = `[...document.querySelectorAll('#latest .user')].find((one) => one.innerText === arguments[0])`;
  await run(`${theirs}.click()`, user);
  await until('a click in the list searches', () => run('document.activeElement.id'), (id) => id === 'who');
  same('for that user', await run('document.querySelector("#user").value'), user);
}

async function quiet() {
  same('no violation of the policy, and no error', await log('browser'), []);
  const asked = (await log('performance'))
    .map(({ message }) => JSON.parse(message).message)
    .filter(({ method }) => method === 'Network.requestWillBeSent')
    .map(({ params }) => params.request.url);
  const elsewhere = asked.filter((url) => !url.startsWith(`${adminOrigin}/`) && !url.startsWith('data:'));
  check(`none of ${asked.length} requests left the origin`, asked.length > 10 && elsewhere.length === 0, elsewhere);
  await run(`setTimeout(() => {
    const image = document.createElement('img');
    image.src = '/favicon.ico';
    document.body.append(image);
  })`);
  await until(
    'while a violation would have been seen', () => log('browser'),
    (lines) => JSON.stringify(lines).includes('Content Security Policy'),
  );
}

async function trouble() {
  await search('no:user');
  await until('the server explains an error', () => text('#fault'), (said) => said.includes('no valid user'));

  await cdp('Network.enable', {});
  const network = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
  await cdp('Network.emulateNetworkConditions', { ...network, offline: true });
  await until('a silent server is noticed', () => text('#alarm'), (said) => said.includes('does not answer'));
  same('in the title too', await run('document.title'), 'no answer · streamer');
  await cdp('Network.emulateNetworkConditions', { ...network, offline: false });
  await until('and its return', () => run('document.querySelector("#alarm").hidden'), (hidden) => hidden);

  await cdp('Emulation.setDeviceMetricsOverride', { width: 360, height: 740, deviceScaleFactor: 2, mobile: true });
  same('a phone need not scroll sideways', await run('[innerWidth, document.documentElement.scrollWidth]'), [360, 360]);
}

async function test() {
  await open();
  await numbersMove();
  await oneUser();
  await quiet();
  await trouble();
}

async function finish(error) {
  if (error) check('the test runs to its end', false, String(error.stack ?? error));
  await close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => finish(signal));
const late = sleep(ALLOWED_MS - 6_000, undefined, { ref: false }).then(() => { throw new Error('too slow'); });
Promise.race([test(), late]).then(() => finish(), finish);
