// For nginx, with njs.conf beside this file. Tested with njs 0.7.9.
import crypto from 'crypto';

import edge from './check.mjs';

async function answer(r) {
  const keys = r.variables.keys.split(' ');
  const hmac = (text) => keys.map((key) => crypto.createHmac('sha256', key).update(text).digest('base64url'));
  const opens = await edge.check(r.variables.pass, r.variables.path, Date.now() / 1000, hmac);
  r.return(opens ? 204 : 403);
}

export default { answer };
