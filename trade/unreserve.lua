-- Frees the place of a proposal that did not become a trade, when the place is old enough.
-- KEYS[1]  the character's open trades
-- ARGV[1]  trade id   ARGV[2]  the place must be older than, ms
-- returns  1 when the place is free, 0 when it is not
local was = redis.call('HGET', KEYS[1], ARGV[1])
if not was then return 1 end
if now() - tonumber(string.match(was, '^%d+')) < tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
