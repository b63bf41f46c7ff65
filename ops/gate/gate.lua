-- The question that haproxy.cfg asks before each request. What nginx.conf says of names, devices and credentials holds here.
local STREAMER = "http://127.0.0.1:8000"
local SCHEME = "Basic " -- What a path, a cookie or a query holds: "user:token" in base64, or a JWT (then "Bearer ").
local COUNTS = { m3u8 = 1, mpd = 1, ts = 1, mp4 = 1, m4s = 1, m4v = 1, cmfv = 1, m4a = 1, cmfa = 1, aac = 1, mp3 = 1, webm = 1 }
local AWAY = {
  status = 503,
  headers = { ["content-type"] = { "application/problem+json" }, ["retry-after"] = { "5" } },
  body = [[{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"It cannot be told now whether you may watch; try again in 5 seconds."}]],
}

local function name(text)
  return #text <= 64 and text:match("^[%w._~-]+$")
end

core.register_action("gate", { "http-req" }, function(txn)
  local path, sent = txn.sf:path(), txn.sf
  local token, rest = path:match("^/auth/([^/]+)(/.*)$")
  local video, suffix = (rest or path):match("^/videos/([%w._~-]+)/.*%.(%w+)$")
  if not video then
    return txn:done(txn:reply { status = 404 })
  end
  token = token or sent:req_cook("auth")
  token = token ~= "" and token or sent:urlp("auth")
  local cmcd = "," .. txn.c:url_dec(sent:urlp("CMCD")) .. "," .. sent:req_hdr("CMCD-Session")
  local given = name(sent:req_cook("device")) or name(sent:urlp("device")) or name(cmcd:match(',sid="([^"]*)"') or "")
  local counts = COUNTS[suffix] and (given or suffix ~= "m3u8" and suffix ~= "mpd")
  local question = (counts and "/gate" or "/") .. "?id=" .. video .. "&device=" .. (given or sent:src())
  local who = sent:req_hdr("Authorization")
  local headers = { authorization = { who ~= "" and who or SCHEME .. token } }
  local answer = core.httpclient():get { url = STREAMER .. question, headers = headers, timeout = 2000 }
  if not (answer.headers or {})["x-request-id"] then
    answer = AWAY -- streamer did not answer, HAProxy did.
  end
  if answer.status < 200 or answer.status > 299 then
    local reply = txn:reply { status = answer.status, body = answer.body }
    for _, field in ipairs { "content-type", "retry-after", "www-authenticate" } do
      for _, value in pairs(answer.headers[field] or {}) do
        reply:add_header(field, value)
      end
    end
    txn:done(reply)
  end
end, 0)
