-- Frees a lock of the caller's, and wakes who waits for it.
-- KEYS[1]  the lock   KEYS[2]  that somebody waits
-- ARGV[1]  the holder's random value   ARGV[2]  channel   ARGV[3]  the lock's name
-- returns  1; 0 when it is another's; -1 when it has run out
local value = redis.call('GET', KEYS[1])
if not value then return -1 end
if value ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('DEL', KEYS[2]) == 1 then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1
