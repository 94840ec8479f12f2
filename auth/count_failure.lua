-- Counts a failed login. The lock is the counter itself, once it has reached the limit.
-- KEYS[1]  the counter of an account or an address
-- ARGV[1]  the limit   ARGV[2]  how long a failure counts and a lock lasts, ms
-- returns  the number of failures
local n = redis.call('INCR', KEYS[1])
if n == 1 or n == tonumber(ARGV[1]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return n
