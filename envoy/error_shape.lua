-- Gives every failed transcoded call the one error shape, each call a request id that can be logged, and a WebSocket's token its
-- place.
--   {"success": false, "message": ..., "error": {"type", "code", "details"}, "metadata": {"request_id"}}
-- The transcoder prints a failed call as {"code": 5, "message": ..., "details": [...]}. Our servers put the finished body in as
-- the last detail, a malla.common.v1.ErrorResponse: it is cut out. Other failures (gRPC's own) are built from code and message.
-- What already has the shape (Envoy's own replies, the gateway's) passes untouched, and so does the body of every answer below 400.

local CODES = {
  [1] = "CANCELLED", [2] = "UNKNOWN", [3] = "INVALID_ARGUMENT", [4] = "DEADLINE_EXCEEDED", [5] = "NOT_FOUND",
  [6] = "ALREADY_EXISTS", [7] = "PERMISSION_DENIED", [8] = "RESOURCE_EXHAUSTED", [9] = "FAILED_PRECONDITION", [10] = "ABORTED",
  [11] = "OUT_OF_RANGE", [12] = "UNIMPLEMENTED", [13] = "INTERNAL", [14] = "UNAVAILABLE", [15] = "DATA_LOSS",
  [16] = "UNAUTHENTICATED",
}

-- For answers that are no gRPC status at all.
local CODE_OF_HTTP = {
  [400] = 3, [401] = 16, [403] = 7, [404] = 5, [408] = 4, [409] = 10, [413] = 3, [429] = 8, [499] = 1, [501] = 12, [502] = 14,
  [503] = 14, [504] = 4,
}

-- Said instead of gRPC's own words, which tell a caller nothing, or may hold what an uncaught exception said.
local BROKEN = "The server failed. Try again; quote the request id if it keeps failing."
local HINTS = {
  DEADLINE_EXCEEDED = "The deadline passed before the call was done. Call again with a longer deadline.",
  RESOURCE_EXHAUSTED = "The server has too many calls in flight. Try again shortly.",
  UNAVAILABLE = "The server cannot be reached. Try again shortly; `malla status` shows what is down.",
  UNIMPLEMENTED = "The server does not know this method. See /docs for those there are.",
  UNKNOWN = BROKEN, INTERNAL = BROKEN, DATA_LOSS = BROKEN,
}

local MARKER = '"@type":"type.googleapis.com/malla.common.v1.ErrorResponse",'
local METADATA = "malla"

local function quoted(text)
  local escaped = text:gsub('[%c"\\\127]', function(c) return string.format("\\u%04x", c:byte()) end)
  return '"' .. escaped .. '"'
end

-- The status's message as the JSON string it was printed as, or nil. The first quote without a backslash before it ends it.
local function printed_message(body)
  local _, start = body:find('^{"code":%d+,"message":"')
  if start == nil then return nil end
  local at = start + 1
  while at <= #body do
    local c = body:sub(at, at)
    if c == '"' then return body:sub(start, at) end
    at = at + (c == "\\" and 2 or 1)
  end
  return nil
end

-- The shape, for a failure that no server of ours described.
local function built(code, message, request_id)
  local name = CODES[code] or "UNKNOWN"
  if HINTS[name] or message == nil or message == '""' then message = quoted(HINTS[name] or BROKEN) end
  return '{"success":false,"message":' .. message .. ',"error":{"type":"' .. name .. '","code":"' .. name ..
    '","details":{}},"metadata":{"request_id":' .. quoted(request_id) .. "}}"
end

-- The ErrorResponse out of the printed status, or nil. Quotes inside JSON strings are escaped, so the marker is the real one.
local function cut(body)
  local _, marker_end = body:find(MARKER, 1, true)
  if marker_end == nil then return nil end
  return "{" .. body:sub(marker_end + 1, -3)  -- without the "]}" that closes the details and the status
end

-- gRPC's retry delay as HTTP says it, in whole seconds.
local function retry_after(body)
  local delay = body:match('"retry_delay":"([%d.]+)s"')
  return delay and tostring(math.max(1, math.ceil(tonumber(delay))))
end

local function shape_error(handle, status, request_id)
  local buffer = handle:body(true)
  local body = buffer:length() > 0 and buffer:getBytes(0, buffer:length()) or ""
  local code = tonumber(body:match('^{"code":(%d+)'))
  if code == nil and body:find('"success":false', 1, true) then return end

  code = code or CODE_OF_HTTP[status] or 2
  if code == 1 and not cut(body) then
    -- A caller who hears this did not cancel: a server that stops did, before it took the call or at the end of its grace.
    code = 14
    handle:headers():replace(":status", "503")
    handle:headers():replace("retry-after", "1")
  end
  handle:streamInfo():dynamicMetadata():set(METADATA, "code", CODES[code] or "UNKNOWN")

  local headers = handle:headers()  -- those taken before the body was waited for are no longer valid
  local seconds = retry_after(body)
  if seconds then headers:replace("retry-after", seconds) end
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(buffer:setBytes(cut(body) or built(code, printed_message(body), request_id))))
end

local function speaks_grpc(headers)
  return (headers:get("content-type") or ""):find("^application/grpc") ~= nil
end

-- A caller's own request id travels through every log and error: short, and nothing that cannot be printed.
local function tidy(headers)
  local given = headers:get("x-request-id") or ""
  local kept = given:sub(1, 128):gsub("[^\33-\126]", "_")
  if kept ~= given then headers:replace("x-request-id", kept) end
  return kept
end

-- A browser can set no header on a WebSocket but the subprotocols it offers: "malla.v1, malla.bearer.<token>". The token becomes
-- the authorization it is, before it is checked, and goes no further: the gateway sees the other subprotocols only.
local BEARER = "malla.bearer."

local function take_token(headers)
  local offered, token = {}, nil
  for at = 0, headers:getNumValues("sec-websocket-protocol") - 1 do
    for name in headers:getAtIndex("sec-websocket-protocol", at):gmatch("[^,%s]+") do
      if name:sub(1, #BEARER) == BEARER then token = name:sub(#BEARER + 1) else offered[#offered + 1] = name end
    end
  end
  if token == nil then return end
  if headers:get("authorization") == nil then headers:add("authorization", "Bearer " .. token) end
  headers:remove("sec-websocket-protocol")
  if #offered > 0 then headers:add("sec-websocket-protocol", table.concat(offered, ", ")) end
end

-- A gRPC server reads these before any handler of ours does. A deadline it cannot read fails the call there, as a bug would, and
-- with "-1S" the calls of others too: they share the connection. https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html
local function deadline_is_readable(headers)
  local deadline = headers:get("grpc-timeout")
  return deadline == nil or (#deadline <= 9 and deadline:find("^%d+[HMSmun]$") ~= nil)
end

-- Whether a gRPC server can decode a binary value: base64, padded or not, whose unused last bits are zero.
local function is_base64(value)
  local digits = value:match("^([%w+/]*)=*$")
  local last = digits and ({[0] = "", [2] = "[AQgw]$", [3] = "[AEIMQUYcgkosw048]$"})[#digits % 4]
  return last ~= nil and digits:find(last) ~= nil
end

-- Names and values that HTTP takes and gRPC does not, such as "a+b", bytes beyond ASCII, and a "-bin" that is no base64, fail a
-- call like that too, or fill the server's log. And a caller of JSON has no word in gRPC but the deadline: "grpc-encoding" speaks of a body that is none.
local function drop_unreadable(headers, is_grpc)
  local dropped = {}
  for name, value in pairs(headers) do
    local is_foreign = not is_grpc and name ~= "grpc-timeout" and (name:find("^grpc%-") or name:find("%-bin$"))
    local is_pseudo = name:find("^:")
    local is_broken = name:find("%-bin$") and not is_base64(value)
    if is_foreign or is_broken or not is_pseudo and (not name:find("^[%w%-_.]+$") or value:find("[^\32-\126]")) then
      dropped[#dropped + 1] = name
    end
  end
  for _, name in ipairs(dropped) do headers:remove(name) end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  take_token(headers)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, "request_id", tidy(headers))
  if speaks_grpc(headers) then metadata:set(METADATA, "caller", "grpc") end
  drop_unreadable(headers, speaks_grpc(headers))
  if not deadline_is_readable(headers) then handle:respond({[":status"] = "400"}, "") end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status"))
  if status >= 400 then
    local known = handle:streamInfo():dynamicMetadata():get(METADATA) or {}
    if known["caller"] ~= "grpc" then shape_error(handle, status, known["request_id"] or "") end
  elseif headers:get("content-type") == "application/json" and handle:metadata():get("stream") == "ndjson" then
    headers:replace("content-type", "application/x-ndjson")  -- the transcoder calls a JSON stream JSON
  end
end
