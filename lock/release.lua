-- Releases the lock of a holder, and wakes those that wait for it.
-- KEYS[1]  the lock   KEYS[2]  the mark that somebody waits
-- ARGV[1]  the random value of the holder   ARGV[2]  channel   ARGV[3]  the name of the lock
-- returns  1: released; 2: released, and another process waits for it; 0: another holder has it; -1: it has expired
local value = redis.call('GET', KEYS[1])
if not value then return -1 end
if value ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('DEL', KEYS[2]) == 0 then return 1 end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 2
