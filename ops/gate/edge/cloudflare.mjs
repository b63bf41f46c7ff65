// For a Cloudflare Worker, with the key lines in the secret PASS_KEYS. Run in node, not on the platform.
import edge from './check.mjs';
import hmacs from './subtle.mjs';

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const { pass, path } = edge.find(url.pathname, url.searchParams.get('pass'));
    const opens = await edge.check(pass, path, Date.now() / 1000, hmacs(env.PASS_KEYS.trim().split('\n')));
    if (!opens) return new Response(null, { status: 403 });
    url.pathname = path; // All viewers share what is cached.
    url.searchParams.delete('pass');
    return fetch(new Request(url, request));
  },
};
