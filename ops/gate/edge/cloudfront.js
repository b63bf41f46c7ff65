// For a CloudFront Function (runtime 2.0, viewer request). Put check.mjs above it, without its last line. Not tested.
import crypto from 'crypto';

const KEYS = ['the first line of the file that streamer has as --pass'];
const hmac = (text) => KEYS.map((key) => crypto.createHmac('sha256', key).update(text).digest('base64url'));

async function handler(event) {
  const request = event.request;
  const query = request.querystring;
  const found = find(request.uri, query.pass && query.pass.value);
  if (!await check(found.pass, found.path, Date.now() / 1000, hmac)) return { statusCode: 403, statusDescription: 'Forbidden' };
  request.uri = found.path; // All viewers share what is cached.
  delete query.pass;
  return request;
}
