-- Writes a new fight, unless it is there already: then the same start was gone on with by another
-- node, or the client library sent the call twice.
--
-- KEYS[1]  the fight, a hash: version state seed base log
-- ARGV[1]  version   ARGV[2]  state, JSON   ARGV[3]  seed   ARGV[4]  TTL, ms
-- ARGV[5]  the fight must not be written after this, Unix ms by this server's clock; 0 for none
-- returns  {first state, seed} as they are in Redis now; {'late'} when nothing was written
local found = redis.call('HMGET', KEYS[1], 'version', 'base', 'state', 'seed')
if found[1] then
  return {found[2] or found[3], found[4]}
end
if ARGV[5] ~= '0' then
  local time = redis.call('TIME')
  if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[5]) then return {'late'} end
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'state', ARGV[2], 'seed', ARGV[3], 'base', ARGV[2], 'log', '')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {ARGV[2], ARGV[3]}
