-- Ends a node's lease on the seat of a session, unless the node has taken the seat again since. The
-- seat is free when its last lease ends.
-- KEYS[1]  the user's seats, see take_seat.lua
-- ARGV[1]  session id   ARGV[2]  node   ARGV[3]  generation
-- returns  1; 0 when the node holds no lease, or a newer one
local field = ARGV[1] .. '|' .. ARGV[2]
local lease = redis.call('HGET', KEYS[1], field)
if not lease or (tonumber(string.match(lease, ':(%d+)$')) or 0) > tonumber(ARGV[3]) then
	return 0
end
redis.call('HDEL', KEYS[1], field)
for _, f in ipairs(redis.call('HKEYS', KEYS[1])) do
	if string.sub(f, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then
		return 1
	end
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
