-- Changes a fight, if it is still at the version that the change was made from.
--
-- KEYS[1]  the fight, a hash: version state seed base log writer
-- ARGV[1]  version it must have     ARGV[2]  version it gets
-- ARGV[3]  state, JSON              ARGV[4]  the move, for the log
-- ARGV[5]  TTL, ms                  ARGV[6]  writer: names this very change
-- ARGV[7]  '1': the log starts anew from this state
-- returns  1 when it was changed; 0 when there is no such fight;
--          {state, seed} when it has another version;
--          1 too when this very change was made before: its answer was lost, and the client asks again
local found = redis.call('HMGET', KEYS[1], 'version', 'writer', 'state', 'seed')
if not found[1] then
  return 0
end
if found[1] ~= ARGV[1] then
  if found[2] == ARGV[6] then
    return 1
  end
  return {found[3], found[4]}
end
if ARGV[7] == '1' then
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3], 'writer', ARGV[6], 'base', ARGV[3], 'log', '')
else
  local log = redis.call('HGET', KEYS[1], 'log') or ''
  redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3], 'writer', ARGV[6], 'log', log .. ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
