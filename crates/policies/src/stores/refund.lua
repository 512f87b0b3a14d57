-- Takes a charge back, when a later limit of the same request has refused it. Only from the run that
-- it was charged to: from another one, it would be forgotten too early there.
--
-- KEYS: the key. ARGV: the cost, lines, and the time at which the run began.
local HEAD, PART = 64, 64 + 63 * 16
for line = 0, tonumber(ARGV[2]) - 1 do
  local raw = redis.call('GETRANGE', KEYS[1], line * PART, line * PART + HEAD - 1)
  if #raw == HEAD then
    local total, first, last, count, olast, ocount, begin, length = struct.unpack('<dddddddd', raw)
    local cost = tonumber(ARGV[1])
    if first == tonumber(ARGV[3]) and count >= cost then
      redis.call('SETRANGE', KEYS[1], line * PART, struct.pack('<dddddddd',
        total - cost, first, last, count - cost, olast, ocount, begin, length))
    end
  end
end
return 1
