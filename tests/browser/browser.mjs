// What the browser tests share: checks that count, and a browser driven by the W3C WebDriver protocol.
//
// Needs node 20, chromedriver and Chromium (Debian: `apt install chromium chromium-driver`), and no package.
// CHROMEDRIVER and CHROMIUM name other programs than those in the usual places.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The name under which WebDriver hands out elements. */
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

// What is checked.

let passed = 0, failed = 0;

export function check(what, good, seen) {
  good ? passed += 1 : failed += 1;
  console.log(good ? `ok      ${what}` : `FAILED  ${what}: ${JSON.stringify(seen)}`);
}

export const same = (what, seen, expected) => check(what, JSON.stringify(seen) === JSON.stringify(expected), seen);

/** Looks until `look` finds what `good` takes, or for so long. */
export async function until(what, look, good, withinMs = 20_000) {
  const late = Date.now() + withinMs;
  let seen;
  do {
    seen = await look();
    if (good(seen)) break;
    await sleep(100);
  } while (Date.now() < late);
  check(what, good(seen), seen);
}

// The browser.

const profile = mkdtempSync(join(tmpdir(), 'streamer-browser-'));
let driver, session;

async function call(method, path, body) {
  const answer = await fetch(driver.url + path, { method, body: body && JSON.stringify(body) });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
  return value;
}

/** A command to the open browser, by its path below the session. */
export const webdriver = (method, path, body) => call(method, session + path, body);

/** Starts chromedriver, and resolves with its port. */
function startDriver() {
  const options = { stdio: ['ignore', 'pipe', 'ignore'], detached: true };
  const child = spawn(process.env.CHROMEDRIVER ?? 'chromedriver', ['--port=0'], options);
  driver = { child };
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
      const found = /successfully on port (\d+)/.exec(text);
      if (found) resolve(found[1]);
    });
    child.once('error', reject);
    child.once('close', (code) => reject(new Error(`chromedriver ended with ${code}: ${text}`)));
  });
}

/** Starts chromedriver on a port that is free, and a browser with a profile of its own. */
export async function open() {
  // Its port is one that is free for IPv6, and somebody may have the same for IPv4: then it ends, and gets another.
  const again = (error) => (error.message.includes('port not available') ? startDriver() : Promise.reject(error));
  const port = await startDriver().catch(again).catch(again).catch(again);
  driver.url = `http://127.0.0.1:${port}`;
  const { sessionId } = await call('POST', '/session', {
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
  await visit('about:blank');
  await log('performance');
}

/** Ends all that was started. The browser ends with its session; whatever does not, with its process group. */
async function close() {
  if (session) await Promise.race([webdriver('DELETE', '').catch(() => {}), sleep(5_000)]);
  try {
    process.kill(-driver.child.pid, 'SIGKILL');
  } catch {
    // It never began.
  }
  // The browser may still be writing its last.
  rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
}

export const visit = (url) => webdriver('POST', '/url', { url });
export const run = (script, ...args) => webdriver('POST', '/execute/sync', { script: `return ${script}`, args });
export const text = (selector) => run('document.querySelector(arguments[0])?.innerText ?? null', selector);
export const texts = (selector) => run('[...document.querySelectorAll(arguments[0])].map((node) => node.innerText)', selector);
export const log = (type) => webdriver('POST', '/se/log', { type });
export const cdp = (cmd, params) => webdriver('POST', '/goog/cdp/execute', { cmd, params });

export async function element(selector) {
  const found = await webdriver('POST', '/element', { using: 'css selector', value: selector });
  return `/element/${found[ELEMENT]}`;
}

export const click = async (selector) => webdriver('POST', `${await element(selector)}/click`, {});
export const type = async (selector, keys) => webdriver('POST', `${await element(selector)}/value`, { text: keys });

/** Stops all of the browser, and lets it go on: SIGSTOP and SIGCONT. */
export const signal = (name) => process.kill(-driver.child.pid, name);

export async function screenshot(file) {
  writeFileSync(file, Buffer.from(await webdriver('GET', '/screenshot'), 'base64'));
}

/** Runs a test for so long at most, then `tidy`; says how it went, and exits with 1 where anything failed. */
export function main(test, allowedMs, tidy = () => {}) {
  async function finish(error) {
    if (error) check('the test runs to its end', false, String(error.stack ?? error));
    await close();
    await tidy();
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed > 0 ? 1 : 0);
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => finish(signal));
  // Ending takes time, too.
  const late = sleep(allowedMs - 6_000, undefined, { ref: false }).then(() => { throw new Error('too slow'); });
  Promise.race([test(), late]).then(() => finish(), finish);
}
