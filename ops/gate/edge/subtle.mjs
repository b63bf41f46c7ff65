// HMAC for platforms with the Web's own cryptography. Tested in node 20.
const bytes = (text) => new TextEncoder().encode(text);
const base64url = (mac) => btoa(String.fromCharCode(...new Uint8Array(mac))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');

export default (keys) => (text) => Promise.all(keys.map(async (key) => {
  const imported = await crypto.subtle.importKey('raw', bytes(key), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return base64url(await crypto.subtle.sign('HMAC', imported, bytes(text)));
}));
