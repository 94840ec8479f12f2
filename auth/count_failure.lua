-- Counts one failed login, and locks when there were too many.
-- KEYS[1]  the failures, a counter that runs out
-- ARGV[1]  how many lock   ARGV[2]  for how long, and how long a failure counts; ms
-- returns  how many there were
local n = redis.call('INCR', KEYS[1])
if n == 1 or n == tonumber(ARGV[1]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return n
