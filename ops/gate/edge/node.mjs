// For node:http and whatever is built on it: `if (!await opens(request)) …`. Tested in node 20.
import { createHmac } from 'node:crypto';

import edge from './check.mjs';

/** `keys` are the lines of the file that streamer has as --pass. */
export default (keys) => async ({ url }) => {
  const hmac = (text) => keys.map((key) => createHmac('sha256', key).update(text).digest('base64url'));
  const { pathname, searchParams } = new URL(url, 'http://edge');
  const { pass, path } = edge.find(pathname, searchParams.get('pass'));
  return edge.check(pass, path, Date.now() / 1000, hmac);
};
