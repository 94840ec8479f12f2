-- Ends a node's hold on a session's seat, unless the node took it again since.
-- KEYS[1]  the user's seats, see seat.lua
-- ARGV[1]  session   ARGV[2]  node   ARGV[3]  generation
-- returns  1; 0 when it was not held, or was taken again
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
