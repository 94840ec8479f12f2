-- Sets one field of a living session; its expiry stays.
-- KEYS[1]  the session, a hash
-- ARGV[1]  field   ARGV[2]  value   ARGV[3…]  the fields to return
-- returns  {left, value, value, …}: the ms that are left (-1: no expiry), then the fields in the
--          order of ARGV; {-2} when the session does not live
local user = redis.call('HGET', KEYS[1], 'userId')
if not user or user == '' then
	return {-2}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local out = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
table.insert(out, 1, redis.call('PTTL', KEYS[1]))
return out
