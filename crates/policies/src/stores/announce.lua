-- A gateway says that it is there, and learns who else is, and which epoch the store is in.
--
-- KEYS: the set of gateways, the epoch. ARGV: this gateway's id, how long one is believed in
-- microseconds. Answer: the epoch, how old it is, the ids.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], 3600000)
local epoch = tonumber(redis.call('GET', KEYS[2]) or 0)
if epoch == 0 then
  epoch = now
  redis.call('SET', KEYS[2], string.format('%.0f', epoch))
end
return { epoch, now - epoch, redis.call('ZRANGE', KEYS[1], 0, -1) }
