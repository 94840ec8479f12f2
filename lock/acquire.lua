-- Acquires a lock, if nobody holds it, and takes its next fence.
-- KEYS[1]  the lock   KEYS[2]  its fence   KEYS[3]  the mark that somebody waits
-- ARGV[1]  the random value of the attempt   ARGV[2]  TTL, ms
-- ARGV[3]  how long the caller will wait, ms; 0 if it does not
-- returns  the fence, higher than any before; or, if the lock is taken,
--          minus the ms that the holder has left, minus 1
local got = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not got and redis.call('GET', KEYS[1]) == ARGV[1] then
  -- This attempt has the lock: its answer was lost, and the client repeats the command.
  got = redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if got then
  local fence = next_fence(KEYS[2])
  redis.call('PEXPIRE', KEYS[2], 604800000) -- a week from the last lease
  return fence
end
if ARGV[3] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[3]) end
local left = redis.call('PTTL', KEYS[1])
if left < 0 then return -60000 end -- not one of our locks: it never expires
return -left - 1
