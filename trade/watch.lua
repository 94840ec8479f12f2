-- Sees to it that somebody looks at a trade.
-- KEYS[1]  trades to look at
-- ARGV[1]  trade id   ARGV[2]  in, ms; or '' for at ARGV[3]   ARGV[3]  Unix ms
-- ARGV[4]  only where it is looked at then as yet, Unix ms; or '' for always
-- returns  {'ok', when, Unix ms}   {'moved'} somebody else has seen to it
if ARGV[4] ~= '' and tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0) ~= tonumber(ARGV[4]) then return {'moved'} end
local at = ARGV[3]
if ARGV[2] ~= '' then at = text(now() + ARGV[2]) end
redis.call('ZADD', KEYS[1], at, ARGV[1])
return {'ok', at}
