-- Sees to it that somebody looks at a trade.
-- KEYS[1]  trades to look at
-- ARGV[1]  trade id   ARGV[2]  in, ms; or '' for at ARGV[3]   ARGV[3]  Unix ms
-- returns  when, Unix ms
local at = ARGV[3]
if ARGV[2] ~= '' then at = text(now() + ARGV[2]) end
redis.call('ZADD', KEYS[1], at, ARGV[1])
return at
