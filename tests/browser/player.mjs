// The example player, in a real browser, with a real video, against a real server:
//
//   node tests/browser/player.mjs PROGRAM [--screenshots FOLDER]
//
// The page is served as the README says, by Python; the server is started, stopped and started again. Prints
// `N passed, M failed`, and exits with 1 where anything failed or 150 seconds were too short. What else it needs is told
// in `browser.mjs`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import {
  cdp, check, click, main, open, run, same, screenshot, signal, text, texts, until, visit, webdriver,
} from './browser.mjs';

const { values: { screenshots }, positionals: [program] } =
  parseArgs({ options: { screenshots: { type: 'string' } }, allowPositionals: true });
if (!program) {
  console.error('usage: node tests/browser/player.mjs PROGRAM [--screenshots FOLDER]');
  process.exit(2);
}

/** Short enough to wait for. */
const LEASE_S = 4;
/** What happens within this time of a heartbeat was not the lease's doing: a heartbeat leaves two thirds of it. */
const AT_ONCE_MS = LEASE_S * 1000 / 2;

// The programs around the page.

const children = [];

/** Starts a program, and returns what it says about its address. */
async function start(command, args, from, pattern) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let said = '';
  const found = await new Promise((resolve, reject) => {
    child[from].on('data', (data) => {
      said += data;
      const match = pattern.exec(said);
      if (match) resolve(match);
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${command} ended: ${said}`)));
  });
  child.stdout.resume();
  child.stderr.resume();
  return { child, found };
}

async function end(child) {
  if (child.exitCode === null && child.signalCode === null && child.kill()) await once(child, 'exit');
}

let pageOrigin, server;

async function servePage() {
  const folder = fileURLToPath(new URL('../../examples/player', import.meta.url));
  const args = ['-u', '-m', 'http.server', '0', '--bind', '127.0.0.1', '--directory', folder];
  const { found } = await start('python3', args, 'stdout', /port (\d+)/);
  pageOrigin = `http://127.0.0.1:${found[1]}`;
}

async function serve(listen = '127.0.0.1:0', cors = pageOrigin, more = []) {
  const args = [
    '--listen', listen, '--admin', '127.0.0.1:0', '--lease', `${LEASE_S}s`, '--cors', cors, '--log', 'off', ...more,
  ];
  const { child, found } = await start(program, args, 'stderr', /listens on (http:\S+) \(admin on (http:[^)]+)\)/);
  server = { child, url: found[1], admin: found[2] };
}

/** Stands before the server, and holds each DELETE back, as a slow path may. */
async function serveLate(ms) {
  const proxy = http.createServer(async (request, response) => {
    if (request.method === 'DELETE') await sleep(ms);
    const { method, headers, url } = request;
    const onward = http.request(server.url + url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  return { url: `http://127.0.0.1:${proxy.address().port}`, close: () => proxy.close() };
}

// The same user elsewhere, without a browser.

const user = 'alice';

async function call(method, stream, body) {
  const query = new URLSearchParams(stream);
  const response = await fetch(`${server.url}/?${query}`, {
    method,
    headers: { Authorization: `Basic ${btoa(`${user}:x`)}`, 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, ...(await response.json()) };
}

/** Other players of the user, at whose heartbeats a test of theirs may take as long as it likes. */
const elsewhere = new Set();
setInterval(() => elsewhere.forEach((id) => call('PATCH', { id, device: 'tv' }).catch(() => {})), 1_000).unref();

const admin = (query) => fetch(`${server.admin}/users/${user}?${new URLSearchParams(query)}`, { method: 'DELETE' });
const streams = async () => (await call('GET')).streams;
const ids = async () => (await streams()).filter(({ state }) => state === 'playing').map(({ id }) => id).join(' ');
const find = async (id) => (await streams()).find((stream) => stream.id === id);

// The tabs.

const newTab = async () => (await webdriver('POST', '/window/new', { type: 'tab' })).handle;
const go = (tab) => webdriver('POST', '/window', { handle: tab });
const page = (id, url = server.url) => `${pageOrigin}/?${new URLSearchParams({ server: url, user, id })}`;
const play = () => run('document.querySelector("video").play()');
const pause = () => run('document.querySelector("video").pause()');
const time = () => run('document.querySelector("video").currentTime');
const state = () => text('#state');
const quiet = () => run('document.querySelector("#trouble").hidden');
const is = (expected) => (seen) => seen === expected;
const picture = (name) => screenshots && screenshot(`${screenshots}/${name}.png`);

async function openPlayer(id, url) {
  await visit(page(id, url));
  await click('video'); // No browser plays sound before somebody has clicked.
}

// The test.

async function twoTabsAreTwoDevices(first) {
  await openPlayer('film');
  await until('a video plays', time, (now) => now > 0.2);
  await until('and says so', state, is('Playing'));
  const second = await newTab();
  await go(second);
  await openPlayer('film');
  await until('the same video in another tab plays too', state, is('Playing'));
  const devices = (await streams()).map(({ device }) => device);
  same('two tabs are two devices', new Set(devices).size, 2);
  const name = await text('#who');
  await webdriver('POST', '/refresh', {});
  same('a tab keeps its name when it is loaded again', await text('#who'), name);
  await until('and left its stream', streams, (list) => list.length === 1);
  await webdriver('DELETE', '/window');
  await go(first);
}

async function reports() {
  await until('the position moves', async () => (await find('film')).time, (at) => at >= '0:02');
  await pause();
  await until('a pause is reported at once', async () => (await find('film')).state, is('paused'), AT_ONCE_MS / 2);
  await until('and shown', state, is('Paused'));
  const ran = (await find('film')).time;
  await sleep(LEASE_S * 1000 + 500);
  same('a paused stream keeps its lease and its position', (await find('film'))?.time, ran);
  await play();
  await until('it resumes', async () => (await find('film')).state, is('playing'));
}

async function theFourthIsRefused(first) {
  for (const id of ['news', 'match']) {
    await call('POST', { id, device: 'tv' }, { time: '1:00' });
    elsewhere.add(id);
  }
  const second = await newTab();
  await go(second);
  await openPlayer('cartoon');
  await until('the fourth stream is refused', () => text('#why'), is('Which one shall I stop?'));
  same('the video stands still', await run('document.querySelector("video").paused'), true);
  const rows = await texts('#streams .about');
  check('it shows what plays, and where', rows.length === 3 && rows[1] === 'news on tv, at 1:00', rows);
  await picture('full');
  await cdp('Emulation.setDeviceMetricsOverride', { width: 375, height: 740, deviceScaleFactor: 2, mobile: true });
  same('a phone need not scroll sideways', await run('[innerWidth, document.documentElement.scrollWidth]'), [375, 375]);
  await cdp('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: 'dark' }] });
  await picture('full-dark-375');
  await cdp('Emulation.clearDeviceMetricsOverride', {});
  await click('#streams li:nth-child(2) button');
  await until('one is replaced', state, is('Playing'));
  same('the question is gone', await quiet(), true);
  same('by the one that asked', await ids(), 'film match cartoon');
  same('whose player learns it', (await call('PATCH', { id: 'news', device: 'tv' })).reason, 'replaced');

  await pause();
  await until('a pause frees the slot', ids, is('film match'));
  await call('POST', { id: 'news', device: 'tv' });
  await play();
  await until('resuming into a full house is refused', () => text('#why'), is('Which one shall I stop?'));
  await sleep(LEASE_S * 1000 / 2);
  same('the question waits for an answer', await text('#why'), 'Which one shall I stop?');
  await click('#streams li:nth-child(1) button');
  await until('which resumes it', state, is('Playing'));
  await go(first);
  await until('the other tab stops', () => text('#why'), is('Playing elsewhere now'));
  check('and says for whom', /^cartoon on tab-\w+ took/.test(await text('#detail')), await text('#detail'));
  same('its video stands still', await run('document.querySelector("video").paused'), true);
  await picture('replaced');
  await go(second);
  await webdriver('DELETE', '/window');
  await go(first);
  await until('closing a tab frees its slot', ids, (list) => !list.includes('cartoon'), AT_ONCE_MS);
  elsewhere.clear();
  for (const id of ['news', 'match']) await call('DELETE', { id, device: 'tv' });
  await click('#again');
  await until('one click plays it again', state, is('Playing'));
}

async function theOperator() {
  await admin({ id: 'film', device: (await find('film')).device, reason: 'The match is blacked out in your region.' });
  await until('an operator ends it', () => text('#why'), is('Ended by the service'));
  same('and says why', await text('#detail'), 'The match is blacked out in your region.');
  await admin({ hold: '60s', reason: 'Please call us.' });
  await play();
  await until('a held user is refused', () => text('#why'), is('Your account is on hold'));
  check('and told what to do', /^Please call us\. Try again in \d\d seconds\.$/.test(await text('#detail')), await text('#detail'));
  await picture('held');
  await admin({ hold: '0s' });
  await click('#again');
  await until('until that is lifted', state, is('Playing'));
}

async function theServerGoesAndComes() {
  await end(server.child);
  await until('a server that is gone is noticed', () => run('document.querySelector("#offline").hidden'), is(false));
  const then = await time();
  await sleep(1_500);
  check('the video plays on', (await time()) !== then, then);
  await picture('offline');
  await serve(new URL(server.url).host);
  await until('the server is back and knows it again', ids, is('film'));
  await until('the page shows that', () => run('document.querySelector("#offline").hidden'), is(true));
  same('the viewer was told nothing else', await quiet(), true);
}

/** Every process of the browser stands still, and wall time goes on. */
async function theLaptopSleeps() {
  await sleep(LEASE_S * 1000); // After a start in memory, heartbeats of unknown streams are adopted for one lease.
  signal('SIGSTOP');
  await until('a laptop that sleeps frees the slot after a lease', ids, is(''));
  signal('SIGCONT');
  await until('and starts again when it wakes', ids, is('film'));
  await until('without a word', async () => [await state(), await quiet()].join(), is('Playing,true'));
  const calls = () => texts('#calls li');
  await until('after a 404', calls, (rows) => rows.some((row, i) => row.includes('POST') && rows[i + 1]?.includes('404')));
}

async function away() {
  await run('window.marked = true');
  await visit(`${pageOrigin}/player.js`);
  await until('leaving the page frees the slot', ids, is(''), AT_ONCE_MS);
  await webdriver('POST', '/back', {});
  same('"back" finds the page as it was', await run('window.marked'), true);
  await play();
  await until('and it plays again', ids, is('film'));
}

/** What a page said last comes late, and does not end what the next one has started. */
async function theEndComesLate(first) {
  const late = await serveLate(1_000);
  const isWell = async (what) => {
    await until(`${what} plays`, ids, (list) => list.includes('late'));
    await until('and knows it', state, is('Playing'));
    const posts = (await texts('#calls li')).filter((row) => row.includes('POST')).length;
    await sleep(LEASE_S * 1000 / 2);
    const calls = () => texts('#calls li');
    await until('and plays on by heartbeats', calls, ([row]) => row.includes('PATCH') && row.includes('200'));
    same('without a new start', (await calls()).filter((row) => row.includes('POST')).length, posts);
  };
  await openPlayer('late', late.url);
  await isWell('a page');
  await webdriver('POST', '/refresh', {});
  await click('video');
  await isWell('reloaded, it');
  same('as one stream', (await streams()).filter(({ id }) => id === 'late').length, 1);
  await visit(`${pageOrigin}/player.js`);
  await webdriver('POST', '/back', {});
  await play();
  await isWell('found again by "back", it');

  const device = await run('watch.device');
  await run('window.open(location.href)'); // Copies the storage, as "duplicate this tab" does.
  const copy = (await webdriver('GET', '/window/handles')).at(-1);
  await go(copy);
  await click('video');
  await until('a duplicate is another device', streams, (list) => list.filter(({ id }) => id === 'late').length === 2);
  await webdriver('DELETE', '/window');
  await go(first);

  const twin = await newTab();
  await go(twin);
  await visit(`${pageOrigin}/player.js`);
  await run('sessionStorage.setItem("device", arguments[0])', device);
  await openPlayer('late', late.url);
  same('another tab with the same name', await run('watch.device'), device);
  await until('takes its place', state, is('Playing'));
  await go(first);
  await until('the first says so', () => text('#why'), is('Playing in another tab now'));
  await go(twin);
  await isWell('and the second');
  await webdriver('DELETE', '/window');
  await go(first);
  await until('when that one closes, nothing plays', ids, (list) => !list.includes('late'));
  late.close();
}

/** A token that ran out costs a call, and no viewer. */
async function theTokenIsRenewed() {
  await run('watch.authorization = async (renew) => (window.renewed ||= renew) ? "Basic YWxpY2U6eA==" : "Basic !"');
  await until('a refused token is renewed', () => run('window.renewed'), is(true));
  await until('and the video is counted on', async () => (await find('film'))?.expiresIn, (left) => left >= LEASE_S - 1);
  await until('without a word', async () => [await state(), await quiet()].join(), is('Playing,true'));
}

/** A wrong `--cors` must not turn the limit off unseen. */
async function theOriginIsNotListed() {
  const listen = new URL(server.url).host;
  await end(server.child);
  await serve(listen, 'https://www.example.com');
  await until('a page that is not listed says so', () => text('#offline'), (shown) => shown.includes(`--cors ${pageOrigin}`));
  await end(server.child);
  await serve(listen);
  await until('until it is', () => run('document.querySelector("#offline").hidden'), is(true));
}

/** A hidden tab may have one timer a minute. */
async function theTabIsThrottled() {
  const source = 'window.setInterval = ((set) => (f, ms) => set(f, Math.max(ms, 60_000)))(window.setInterval)';
  await cdp('Page.addScriptToEvaluateOnNewDocument', { source });
  await openPlayer('hidden');
  await until('a throttled tab starts', ids, is('hidden'));
  await sleep(LEASE_S * 1000 + 1_000);
  same('and keeps its lease', await ids(), 'hidden');
  same('by heartbeats, not by a new start', (await texts('#calls li')).filter((row) => row.includes('POST')).length, 1);
  await run('watch.close()');
  await until('closed by the page, it ends', ids, is(''), AT_ONCE_MS);
  await sleep(LEASE_S * 1000 / 2);
  same('and is not heard of again, though the video plays', [await ids(), await run('document.querySelector("video").paused')], ['', false]);
}

async function test() {
  await servePage();
  await serve();
  await open();
  // Oldest browsers have not got it.
  await cdp('Page.addScriptToEvaluateOnNewDocument', { source: 'delete AbortSignal.timeout' });
  const first = await webdriver('GET', '/window');
  await twoTabsAreTwoDevices(first);
  await reports();
  await theFourthIsRefused(first);
  await theOperator();
  await theServerGoesAndComes();
  await theEndComesLate(first);
  await openPlayer('film');
  await theTokenIsRenewed();
  await theOriginIsNotListed();
  await theLaptopSleeps();
  await away();
  await theTabIsThrottled();
}

main(test, 150_000, () => Promise.all(children.map(end)));
