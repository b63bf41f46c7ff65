// Players of the world at the gate, in a real browser, on a page of another origin than the videos:
//
//   node tests/browser/gate.mjs PAGE_PORT VIDEOS STREAMER ADMIN PLAYER…
//
// VIDEOS, STREAMER and ADMIN are origins: of the proxy that serves /videos/clip, of streamer behind it, of its operators.
// PLAYER is hls, shaka, dash, videojs, or pass: hls.js with the example player's passes, at an edge that checks them. `tests/gate.py` starts what is around. Needs `npm ci` in this folder, and what is
// told in `browser.mjs`. Prints `N passed, M failed`, and exits with 1 where anything failed.

import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { check, click, main, open, run, same, text, until, visit, webdriver } from './browser.mjs';

const [port, videos, streamer, admin, ...players] = process.argv.slice(2);
const here = fileURLToPath(new URL('.', import.meta.url));
const TYPES = { '.html': 'text/html', '.js': 'text/javascript' };

const pages = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  response.setHeader('Content-Type', TYPES[extname(pathname)] ?? 'text/plain');
  const file = pathname === '/player.js' ? '../../examples/player/player.js' : pathname;
  createReadStream(join(here, file)).on('error', () => response.writeHead(404).end()).pipe(response);
});

const source = (player) => `${videos}/videos/clip/index.${player === 'dash' ? 'mpd' : 'm3u8'}`;

async function streams(user) {
  const answer = await fetch(`${streamer}/`, { headers: { Authorization: `Basic ${btoa(`${user}:x`)}` } });
  return (await answer.json()).streams.map(({ id, device }) => `${id} ${device}`).sort();
}

async function tab(player, user, device) {
  const { handle } = await webdriver('POST', '/window/new', { type: 'tab' });
  await webdriver('POST', '/window', { handle });
  const query = new URLSearchParams({ player, user, device, streamer, src: source(player) });
  await visit(`http://localhost:${port}/gate.html?${query}`);
  if (player === 'pass') await click('video');
  return handle;
}

const go = (handle) => webdriver('POST', '/window', { handle });
const refusal = () => text('#refusal');
const time = () => run('document.querySelector("video").currentTime');

async function plays(what) {
  const began = await time();
  await until(what, time, (now) => now > began + 0.3);
}

async function fourTabs(player) {
  const user = player;
  const devices = ['one', 'two', 'three'];
  const tabs = [];
  for (const device of devices) {
    tabs.push(await tab(player, user, device));
    await plays(`${player}: tab ${device} plays`);
    same('and is not refused', await refusal(), '');
  }
  same('each is one stream, playlists and segments together', await streams(user), devices.map((device) => `clip ${device}`).sort());
  const fourth = await tab(player, user, 'four');
  await until('the fourth is refused, and its page can say why', refusal, (seen) => seen?.includes('is watching 3 of 3 streams'));
  await fetch(`${admin}/users/${user}?id=clip&device=two&reason=Not+in+your+region.`, { method: 'DELETE' });
  await go(tabs[1]);
  await until("an operator's end stops the second, with its message", refusal, (seen) => seen?.includes('operator: Not in your region.'), 15_000);
  for (const other of [0, 2]) {
    await go(tabs[other]);
    same(`tab ${devices[other]} is not refused`, await refusal(), '');
    await plays('and plays on');
  }
  if (player === 'pass') {
    await go(tabs[0]);
    // A heartbeat, and with it the next pass, comes every third of a lease of 30 s.
    const passes = async () => [...new Set((await run("performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => name.includes('.m4s'))"))
      .map((url) => new URL(url).searchParams.get('pass')))];
    await until('each segment has a pass, and later ones a newer one', passes, (seen) => seen.length > 1 && !seen.includes(null), 25_000);
  }
  for (const handle of [...tabs, fourth]) {
    await go(handle);
    await webdriver('DELETE', '/window');
  }
}

async function test() {
  await new Promise((resolve) => pages.listen(port, '127.0.0.1', resolve));
  await open();
  const first = await webdriver('GET', '/window');
  for (const player of players) {
    await fourTabs(player);
    await go(first);
  }
}

main(test, 60_000 * players.length, () => pages.close());
