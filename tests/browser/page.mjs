// The page of the admin listener, in a real browser, against a real server:
//
//   node tests/browser/page.mjs PUBLIC_URL ADMIN_URL [--screenshot FILE]
//
// Prints `N passed, M failed`, and exits with 1 where anything failed or a minute was too short. What it needs is told in
// `browser.mjs`.

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import {
  cdp, check, click, element, log, main, open, run, same, screenshot, text, texts, type, until, visit, webdriver,
} from './browser.mjs';

const { values, positionals } =
  parseArgs({ options: { screenshot: { type: 'string' } }, allowPositionals: true });
if (positionals.length !== 2) {
  console.error('usage: node tests/browser/page.mjs PUBLIC_URL ADMIN_URL [--screenshot FILE]');
  process.exit(2);
}
const [publicOrigin, adminOrigin] = positionals.map((url) => new URL(url).origin);

const ALLOWED_MS = 60_000;
const [ENTER, ESCAPE] = ['\uE007', '\uE00C'];

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

const numberAt = async (selector) => Number((await text(selector)).replaceAll(',', '').split(' ')[0]);

async function search(name) {
  await webdriver('POST', `${await element('#user')}/clear`, {});
  await type('#user', name + ENTER);
}

// The test.

/** A stream whose names are as bad as names may be: they are data, in a URL and in a document. */
const NASTY = { id: '<img src=x onerror=alert(1)> & + % é', device: 'a=b&c' };
const [TV, PHONE] = [{ id: 'match', device: 'tv' }, { id: 'match', device: 'phone' }];

async function numbersMove() {
  await visit(`${adminOrigin}/`);
  await until('the page shows numbers', () => text('#playing b'), (shown) => /^[\d,]+$/.test(shown));
  if (await run('document.querySelector("#empty").hidden') === false) {
    const line = await text('#try');
    check('an empty server says what to try', line.startsWith('curl -u alice:x ') && line.includes(publicOrigin), line);
  }
  const [playing, refusals] = [await numberAt('#playing b'), await numberAt('#refusals .note')];

  for (const stream of [TV, PHONE, NASTY]) same(`POST of ${stream.device}`, (await call('POST', stream)).status, 201);
  await until('three more are playing', () => numberAt('#playing b'), (n) => n >= playing + 3);
  const named = (title) => /^[\d,]+ playing · streamer$/.test(title);
  await until('the title says how many', () => run('document.title'), named);

  same('POST of one too many', (await call('POST', { id: 'fourth' })).status, 409);
  await until(
    'it is refused in the list', () => texts('#rows tr'),
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
  same('it is empty no more', await run('document.querySelector("#empty").hidden'), true);
  await until('users have a peak', () => text('#today .bars'), (bars) => /\d/.test(bars));
  await until('what other limits had meant', () => texts('#limits tr'), (rows) => rows.length >= 4 && /3, as it is/.test(rows[2]));
  same('the store has a name', await text('#store'), 'memory, up');
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
  if (values.screenshot) await screenshot(values.screenshot);

  const row = (stream) => `#streams [data-key='${JSON.stringify(stream)}']`;
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
  same('its player learns why', [gone.status, (await gone.json()).reason], [410, 'operator']);
  await until(
    'and it is an event', () => texts('#rows tr'),
    (rows) => rows.some((row) => row.includes(user) && row.includes('phone') && row.includes('ended')),
  );
  same('the others play on', (await call('PATCH', TV)).status, 200);

  await click(`${row(NASTY)} .ask`);
  await click(`${row(NASTY)} .yes`);
  await until('a bad name can be ended too', () => texts('#streams li'), (rows) => rows.length === 1);

  await click('#all .ask');
  await click('#all .yes');
  await until('all are gone', () => text('#who'), (shown) => shown === `${user} plays 0 of 3 streams`);
  same('the last player learns it', (await call('PATCH', TV)).status, 410);
  same('a button that can do nothing cannot be pressed', await run('document.querySelector("#all .ask").disabled'), true);

  await run('document.querySelector("#user").value = ""');
  const theirs = `[...document.querySelectorAll('#rows .user')].find((one) => one.innerText === arguments[0])`;
  await run(`${theirs}.click()`, user);
  await until('a click in the list searches', () => run('document.activeElement.id'), (id) => id === 'who');
  same('for that user', await run('document.querySelector("#user").value'), user);
}

async function hold() {
  await type('#reason', 'shared account');
  await click('#keep-out .ask');
  same('the focus is on what does no harm here too', await run('document.activeElement.className'), 'keep');
  await click('#keep-out .yes');
  await until('the page says who is held', () => text('#may'), (said) => /^is held for (59 min|1 h): shared account$/.test(said));
  const refused = await call('POST', TV), problem = await refused.json();
  same('a player is told so', [refused.status, problem.reason, problem.message], [403, 'held', 'shared account']);
  await click('#let-in .ask');
  await click('#let-in .yes');
  await until('a hold is lifted', () => text('#may'), (said) => said === 'and may start one more');
  same('and the player plays', (await call('POST', TV)).status, 201);
  await until(
    'what an operator did stands in the list', () => texts('#rows .what'),
    (all) => ['held', 'lifted', 'ended', 'refused'].every((what) => all.includes(what)),
  );
  await search('..');
  await until('a user called .. can be found', () => text('#who'), (said) => said.startsWith('.. plays 0 of'));
}

async function events() {
  const rows = () => run('document.querySelectorAll("#rows tr").length');
  const places = () => run('[...document.querySelectorAll("#events th")].map((th) => Math.round(th.getBoundingClientRect().x))');
  await type('#filter', 'no such user');
  same('the list is filtered by user', await rows(), 0);
  same('and says that there is none', await run('document.querySelector("#none").hidden'), false);
  await webdriver('POST', `${await element('#filter')}/clear`, {});
  await type('#filter', user.slice(3, 9).toUpperCase());
  await until('by a part of the name', rows, (n) => n > 2);
  const [before, count] = [await places(), await rows()];
  await click('#pause');
  for (const id of ['a', 'b', 'c']) await call('POST', { id: id.repeat(200) });
  for (let i = 0; i < 100; i += 1) await call('POST', { id: `${'long '.repeat(i % 40)}${i}` });
  await sleep(1_500);
  same('a paused list stays', await rows(), count);
  same('and says so', await text('#still'), 'paused');
  await click('#pause');
  await until('it goes on', rows, (n) => n >= 100);
  same('columns stay in place', await places(), before);
  await webdriver('POST', `${await element('#filter')}/clear`, {});
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

  await cdp('Emulation.setDeviceMetricsOverride', { width: 375, height: 740, deviceScaleFactor: 2, mobile: true });
  same('a phone need not scroll sideways', await run('[innerWidth, document.documentElement.scrollWidth]'), [375, 375]);
}

async function test() {
  await open();
  await numbersMove();
  await oneUser();
  await hold();
  await events();
  await quiet();
  await trouble();
}

main(test, ALLOWED_MS);
