-- Decides one request against all lines of all its limits, in one step that nobody can come between.
-- The arithmetic is that of rate_limit/window.rs, the clock is this server's.
--
-- KEYS: one key for each limit, then (when ARGV[1] is 1) the key of the store's epoch.
-- ARGV: 1 when there is an epoch; now in microseconds, or 0 for this server's clock; then for each
--   limit: enforced (1 or 0), cost, wanted (more than cost: a lease), how far ahead a lease is
--   charged in microseconds, milliseconds to keep the key, lines, and for each line requests and per.
-- Answer: epoch, admitted, then for each limit: fits, the line that is nearest to its end (from 0),
--   remaining, microseconds to wait (-1: never), microseconds until it is whole, granted, and the
--   time at which the run that was charged began.
--
-- A line's window is a part of the key's value: a head of eight numbers (total; first, last and
-- count of the newest run; last and count of the oldest; begin and length of the ring between them)
-- and a ring of 63 runs of two numbers.
local HEAD, SLOT, RING = 64, 16, 63
local PART = HEAD + RING * SLOT

local function load(key, at)
  local raw = redis.call('GETRANGE', key, at, at + HEAD - 1)
  local w = { key = key, at = at, slots = {} }
  if #raw < HEAD then
    w.total, w.first, w.last, w.count, w.olast, w.ocount, w.begin, w.length = 0, 0, 0, 0, 0, 0, 0, 0
  else
    w.total, w.first, w.last, w.count, w.olast, w.ocount, w.begin, w.length = struct.unpack('<dddddddd', raw)
  end
  return w
end

local function slot(w, number)
  local from = w.at + HEAD + number * SLOT
  return struct.unpack('<dd', redis.call('GETRANGE', w.key, from, from + SLOT - 1))
end

local function forget(w, per, now)
  while w.ocount > 0 and now - w.olast >= per do
    w.total = w.total - w.ocount
    if w.length > 0 then
      w.olast, w.ocount = slot(w, w.begin)
      w.begin, w.length = (w.begin + 1) % RING, w.length - 1
    else
      w.ocount = 0
    end
  end
  if w.count > 0 and now - w.last >= per then
    w.total, w.count = 0, 0
  end
end

local function wait(w, requests, per, cost, now)
  if cost > requests then return -1 end
  local over = w.total + cost - requests
  if w.ocount > 0 then
    over = over - w.ocount
    if over <= 0 then return w.olast + per - now end
    for number = 0, w.length - 1 do
      local last, count = slot(w, (w.begin + number) % RING)
      over = over - count
      if over <= 0 then return last + per - now end
    end
  end
  return w.last + per - now
end

local function charge(w, requests, per, cost, now)
  local share = 0
  if requests > 64 then share = math.ceil(per / 64) end
  now = math.max(now, w.last)
  w.total = w.total + cost
  if w.count > 0 and (now == w.last or now - w.first < share) then
    w.last, w.count = now, w.count + cost
    return false
  end
  if w.count > 0 then
    if w.ocount == 0 then
      w.olast, w.ocount = w.last, w.count
    else
      local number
      if w.length == RING then -- laid on the run before it: forgotten late, never early
        number = (w.begin + w.length - 1) % RING
        local _, count = slot(w, number)
        w.count = w.count + count
      else
        number = (w.begin + w.length) % RING
        w.length = w.length + 1
      end
      redis.call('SETRANGE', w.key, w.at + HEAD + number * SLOT, struct.pack('<dd', w.last, w.count))
    end
  end
  w.first, w.last, w.count = now, now, cost
  return true
end

local now = tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local epoch = 0
if ARGV[1] == '1' then
  local marker = KEYS[#KEYS]
  epoch = tonumber(redis.call('GET', marker) or 0)
  if epoch == 0 then
    epoch = now
    redis.call('SET', marker, string.format('%.0f', epoch))
  end
end

local limits, admitted, next = {}, true, 3
for number = 1, #KEYS - tonumber(ARGV[1]) do
  local limit = { key = KEYS[number], fits = true, lines = {}, wait = 0 }
  local enforced = ARGV[next] == '1'
  limit.cost, limit.wanted = tonumber(ARGV[next + 1]), tonumber(ARGV[next + 2])
  limit.ahead, limit.keep = tonumber(ARGV[next + 3]), ARGV[next + 4]
  local lines = tonumber(ARGV[next + 5])
  next = next + 6
  for line = 1, lines do
    local requests, per = tonumber(ARGV[next]), tonumber(ARGV[next + 1])
    next = next + 2
    local w = load(limit.key, (line - 1) * PART)
    forget(w, per, math.max(now, w.last)) -- a clock that steps back shortens nothing
    limit.lines[line] = { w = w, requests = requests, per = per }
    if requests - w.total < limit.cost then
      limit.fits = false
      local longest = wait(w, requests, per, limit.cost, now)
      if limit.nearest == nil or longest == -1 or (limit.wait ~= -1 and longest > limit.wait) then
        limit.nearest, limit.wait = line, longest
      end
    end
  end
  if enforced and not limit.fits then admitted = false end
  limits[number] = limit
end

local answer = { epoch, admitted and 1 or 0 }
for _, limit in ipairs(limits) do
  local granted, began = 0, 0
  if admitted and limit.fits then
    granted = limit.cost
    local at = 0
    if limit.wanted > limit.cost then
      granted, at = limit.wanted, limit.ahead
      for _, line in ipairs(limit.lines) do
        granted = math.min(granted, line.requests - line.w.total)
      end
      granted = granted - granted % limit.cost
    end
    local fresh = false
    for _, line in ipairs(limit.lines) do
      if granted > 0 then
        fresh = charge(line.w, line.requests, line.per, granted, now + at) or fresh
        local w = line.w
        redis.call('SETRANGE', limit.key, w.at, struct.pack('<dddddddd',
          w.total, w.first, w.last, w.count, w.olast, w.ocount, w.begin, w.length))
        began = w.first
      end
    end
    if fresh then redis.call('PEXPIRE', limit.key, limit.keep) end
  end
  local nearest = limit.nearest
  if nearest == nil then
    for number, line in ipairs(limit.lines) do
      local left = line.requests - line.w.total
      if nearest == nil or left < limit.left then nearest, limit.left = number, left end
    end
  end
  local line = limit.lines[nearest]
  local whole = line.w.count > 0 and math.max(line.w.last + line.per - now, 0) or 0
  local fits = limit.fits and 1 or 0
  for _, value in ipairs({ fits, nearest - 1, line.requests - line.w.total, limit.wait, whole, granted, began }) do
    answer[#answer + 1] = value
  end
end
return answer
