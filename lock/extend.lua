-- Gives a lease its whole TTL again, and keeps its fence for a week from now.
-- KEYS[1]  the lock   KEYS[2]  its fence
-- ARGV[1]  the random value of the holder   ARGV[2]  TTL, ms
-- returns  1; 0 if the lock is not the holder's any more
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], 604800000)
return 1
