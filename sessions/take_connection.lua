-- Counts a new connection of a user, unless the user has too many.
-- KEYS[1]  the user's connections, a set of "<node>|<number>"
-- ARGV[1]  the new connection   ARGV[2]  how many there may be   ARGV[3]  when the set expires, ms
-- ARGV[4]  and more: connections that have ended
-- returns  {1}; {0, each connection of the user ...} when there are too many
if #ARGV > 3 then redis.call('SREM', KEYS[1], unpack(ARGV, 4)) end
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 and redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
	local answer = redis.call('SMEMBERS', KEYS[1])
	table.insert(answer, 1, 0)
	return answer
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {1}
