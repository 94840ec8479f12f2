-- Writes or removes a value, ends the lease of a load of it, and tells every node.
-- KEYS[1]  the value   KEYS[2]  the lease of its load; both in one slot
-- ARGV[1]  the token of a load: write only while that load holds the lease; '' always writes
-- ARGV[2]  the value; '' removes it   ARGV[3]  its TTL, ms; '0' is for ever
-- ARGV[4]  the channel   ARGV[5]  the message
-- returns  1: written or removed; 0: the load has lost its lease, or there was nothing to remove
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then
	return 0
end
local done = 1
redis.call('UNLINK', KEYS[2])
if ARGV[2] == '' then
	done = redis.call('UNLINK', KEYS[1])
elseif ARGV[3] == '0' then
	redis.call('SET', KEYS[1], ARGV[2])
else
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return done
