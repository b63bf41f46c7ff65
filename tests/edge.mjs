// What opens at the edge, and what does not: node --test tests/edge.mjs
//
// Passes are made here by hand, so that streamer's own are not the measure of themselves; `tests/gate.py` takes real ones.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import edge from '../ops/gate/edge/check.mjs';
import cloudflare from '../ops/gate/edge/cloudflare.mjs';
import opens from '../ops/gate/edge/node.mjs';
import subtle from '../ops/gate/edge/subtle.mjs';

const KEYS = ['the key that signs from now on, 32 b', 'the key that signed until yesterday.'];
const NOW = 1_800_000_000;
const CLAIMS = { sub: 'zoë', id: 'match', device: 'tv', exp: NOW + 90 };
const PATH = '/videos/match/seg0.ts';

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const mac = (text, key = KEYS[0], hash = 'sha256') => createHmac(hash, key).update(text).digest('base64url');
const hmac = (text) => KEYS.map((key) => mac(text, key));

function pass(claims = CLAIMS, { head = { alg: 'HS256', typ: 'JWT' }, key, hash } = {}) {
  const signed = `${encode(head)}.${encode(claims)}`;
  return `${signed}.${mac(signed, key, hash)}`;
}

const good = pass();
const [head, claims, signature] = good.split('.');
const check = (given, path = PATH, now = NOW) => edge.check(given, path, now, hmac);

test('a pass opens its video, with either key, until its lease and 30 s', async () => {
  assert.deepEqual(await check(good), CLAIMS);
  assert.deepEqual(await check(pass(CLAIMS, { key: KEYS[1] })), CLAIMS);
  assert.ok(await check(good, '/videos/match/720p/seg0.ts'));
  assert.ok(await check(good, PATH, CLAIMS.exp + 29));
  assert.equal(await check(good, PATH, CLAIMS.exp + 30), null);
});

test('it opens nothing else', async () => {
  const paths = [
    '/videos/film/seg0.ts', '/videos/matc/seg0.ts', '/videos/match2/seg0.ts', '/videos/match', '/videos/match/', '/match/seg0.ts',
    '/videos/match/../film/seg0.ts', '/videos/match/./../film/seg0.ts', '/videos/match/%2e%2e/film/seg0.ts', '/videos/match%2f..%2ffilm/seg0.ts',
    '/videos/match\\..\\film/seg0.ts', '//videos/match/seg0.ts', '/videos//match/seg0.ts', '/videos/match//seg0.ts', '/videos/%6datch/seg0.ts',
    '/videos/film/seg0.ts?/videos/match/', '/x/videos/match/seg0.ts', '',
  ];
  for (const path of paths) assert.equal(await check(good, path), null, path);
});

test('no other text is a pass', async () => {
  const flipped = (text, at) => text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
  const forged = [
    '', '.', '..', '...', head, `${head}.${claims}`, `${head}.${claims}.`, `.${claims}.${signature}`, `${head}..${signature}`,
    `${good}.`, `${good}.${signature}`, `${good}=`, `${good}A`, good.slice(0, -1), ` ${good}`, `${good}\n`,
    `${head}.${claims}.${signature.toUpperCase()}`,
    `${encode({ alg: 'none' })}.${claims}.`, `${encode({ alg: 'none' })}.${claims}.${signature}`,
    pass(CLAIMS, { key: '' }), pass(CLAIMS, { key: 'another key of thirty-two bytes or so' }), pass(CLAIMS, { hash: 'sha512' }), pass(CLAIMS, { hash: 'sha1' }),
    `${head}.${encode({ ...CLAIMS, id: 'film' })}.${signature}`, `${head}.${encode({ ...CLAIMS, exp: NOW + 9e9 })}.${signature}`,
    `${head}.${claims}.undefined`, `${head}.${claims}.${'A'.repeat(43)}`, 'x'.repeat(100_000),
  ];
  for (let at = 0; at < good.length; at += 1) forged.push(flipped(good, at));
  for (const text of forged) assert.equal(await check(text), null, text);
});

test('what is signed but no pass opens nothing', async () => {
  const { exp, ...forever } = CLAIMS;
  const { id, ...any } = CLAIMS;
  const rows = [forever, any, { ...CLAIMS, exp: `${exp}` }, { ...CLAIMS, exp: null }, { ...CLAIMS, exp: [exp] }, { ...CLAIMS, exp: NOW - 31 },
    { ...CLAIMS, id: ['match'] }, { ...CLAIMS, id: null }, { sub: 'zoë', exp }, []];
  for (const row of rows) assert.equal(await check(pass(row)), null, JSON.stringify(row));
});

test('the pass stands in the path or in the query', async () => {
  const open = opens(KEYS);
  const fresh = pass({ ...CLAIMS, exp: Date.now() / 1000 + 60 });
  for (const url of [`${PATH}?pass=${fresh}`, `/pass/${fresh}${PATH}`, `/pass/${fresh}${PATH}?pass=x`]) assert.ok(await open({ url }), url);
  for (const url of [PATH, `${PATH}?pass=`, `/pass//videos/match/seg0.ts`, `/pass/x${PATH}?pass=${fresh}`, `/pass/${fresh}/pass/${fresh}${PATH}`]) {
    assert.equal(await open({ url }), null, url);
  }
});

test("the Web's own cryptography says the same", async () => {
  assert.deepEqual(await subtle(KEYS)('text'), hmac('text'));
});

test('a Worker fetches without the pass', async () => {
  const server = createServer(({ url }, response) => response.end(url)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${server.address().port}`;
  const env = { PASS_KEYS: `${KEYS.join('\n')}\n` };
  const fresh = pass({ ...CLAIMS, exp: Date.now() / 1000 + 60 });
  const got = async (url) => {
    const answer = await cloudflare.fetch(new Request(origin + url), env);
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await got(`${PATH}?pass=${fresh}&x=1`), [200, `${PATH}?x=1`]);
  assert.deepEqual(await got(`/pass/${fresh}${PATH}`), [200, PATH]);
  assert.deepEqual(await got(PATH), [403, '']);
  server.close();
  server.closeAllConnections();
});
