// For Fastly Compute, with the key lines in the secret store `streamer` as `pass`, and the backend `videos`. Not tested.
import { SecretStore } from 'fastly:secret-store';

import edge from './check.mjs';
import hmacs from './subtle.mjs';

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const keys = (await new SecretStore('streamer').get('pass')).plaintext().trim().split('\n');
  const url = new URL(request.url);
  const { pass, path } = edge.find(url.pathname, url.searchParams.get('pass'));
  if (!await edge.check(pass, path, Date.now() / 1000, hmacs(keys))) return new Response(null, { status: 403 });
  url.pathname = path; // All viewers share what is cached.
  url.searchParams.delete('pass');
  return fetch(new Request(url, request), { backend: 'videos' });
}
