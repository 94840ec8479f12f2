-- Raises the fence of a pair to that of the holder of its lock, so that no earlier holder may go
-- on.
-- KEYS[1]  fence of the pair
-- ARGV[1]  fence of the holder   ARGV[2]  the trade that it settles
-- ARGV[3]  the fence is kept, ms
-- returns  {'ok', the trade that was settled before or ''}   {'stale', highest fence}
local was = redis.call('HMGET', KEYS[1], 'fence', 'trade')
if was[1] and tonumber(was[1]) > tonumber(ARGV[1]) then return {'stale', was[1]} end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'trade', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'ok', was[2] or ''}
