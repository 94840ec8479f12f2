-- KEYS[1]  the lock   KEYS[2]  its fence   KEYS[3]  that somebody waits
-- ARGV[1]  the try's random value   ARGV[2]  TTL, ms   ARGV[3]  the caller waits for, ms; 0 when it does not
-- returns  the fence, higher than any before; or, when it is taken, minus the ms that the
--          holder has left
local got = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not got and redis.call('GET', KEYS[1]) == ARGV[1] then -- this try has it: its answer was lost, and it is sent again
  got = redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if got then
  local fence = next_fence(KEYS[2])
  redis.call('PEXPIRE', KEYS[2], 604800000) -- not while somebody holds it
  return fence
end
if ARGV[3] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[3]) end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then return -60000 end -- not set by us: it never runs out
return -left - 1
