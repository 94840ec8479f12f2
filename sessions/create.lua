-- Writes a new session. No other script creates one.
-- KEYS[1]  the session, a hash
-- ARGV[1]  its first expiry, ms from now   ARGV[2…]  field, value, field, value, …
-- returns  1; 0 when the id is taken
if redis.call('EXISTS', KEYS[1]) == 1 then
	return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
