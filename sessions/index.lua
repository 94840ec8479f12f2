-- Adds a session to the index of its user, or moves its expiry to a later time.
-- KEYS[1]  the user's sessions, a zset of ids by expiry, Unix ms
-- KEYS[2]  the session, if it is to be added only while it lives; only on one server
-- ARGV[1]  session id   ARGV[2]  its expiry, Unix ms
-- ARGV[3]  remove entries that expired before, Unix ms   ARGV[4]  keep the index for, ms
-- returns  1; 0 when the session does not live
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 0 then
	return 0
end
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
