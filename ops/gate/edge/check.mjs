// May this pass open this path? Plain JavaScript that every edge runs, nginx's njs too.

const LEEWAY_S = 30; // Clocks differ.

/**
 * The claims of a good pass (`sub`, `id`, `device`, `exp`: for the log), else null. `path` is /videos/ID/…, without a query;
 * `now` is in seconds. `hmac(text)` lists the HMAC-SHA-256 of a text under each key, in base64url, or promises to: no two
 * platforms have the same one.
 */
async function check(pass, path, now, hmac) {
  const parts = pass.split('.');
  const macs = await hmac(`${parts[0]}.${parts[1]}`);
  if (parts.length !== 3 || !macs.some((mac) => same(mac, parts[2]))) return null;
  // The head is not read: whatever it says, the signature was this one.
  const padding = '==='.slice((parts[1].length + 3) % 4); // njs wants it.
  const bytes = atob(parts[1].replace(/-/g, '+').replace(/_/g, '/') + padding);
  const claims = JSON.parse(decodeURIComponent(bytes.replace(/[\s\S]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`)));
  // A path that could mean another file than it says (dots, double slashes, escapes) opens nothing.
  const video = /[%\\]|\/[/.]/.test(path) ? null : path.match(/^\/videos\/([A-Za-z0-9._~-]+)\/./);
  const good = video && video[1] === claims.id && typeof claims.exp === 'number' && now < claims.exp + LEEWAY_S;
  return good ? claims : null;
}

/** In constant time. */
function same(a, b) {
  let differ = a.length ^ b.length;
  for (let i = 0; i < a.length; i += 1) differ |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return differ === 0;
}

/** Where the pass stands: in the path, /pass/PASS/videos/ID/…, else in the query. */
function find(path, inQuery) {
  const found = path.match(/^\/pass\/([^/]*)(\/.*)$/);
  return found ? { pass: found[1], path: found[2] } : { pass: inQuery || '', path };
}

export default { check, find };
