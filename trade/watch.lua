-- Makes the sweeper look at a trade.
-- KEYS[1]  trades by when to look at them
-- ARGV[1]  trade id   ARGV[2]  look after, ms; '' to look at ARGV[3]   ARGV[3]  Unix ms
-- ARGV[4]  change it only if it is due at this time, Unix ms; '' to change it always
-- returns  {'ok', when, Unix ms}   {'moved'} it is due at another time
if ARGV[4] ~= '' then
  local due = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
  if due ~= tonumber(ARGV[4]) then return {'moved'} end
end
local at = ARGV[3]
if ARGV[2] ~= '' then at = text(now() + ARGV[2]) end
redis.call('ZADD', KEYS[1], at, ARGV[1])
return {'ok', at}
