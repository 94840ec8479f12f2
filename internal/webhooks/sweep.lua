-- Tells the ends of connections of a node that died, and forgets the node when it has no more.
-- KEYS[1]  the connections of the node, a hash   KEYS[2]  the nodes, see connections.lua
-- ARGV[1]  the node   ARGV[2]  what KEYS[2] had for it when it was found dead   ARGV[3…]  connections
-- returns  how many ends were told; -1 when the node lives; an error of Redis when it refused an event
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return -1 end
local told, newest = 0, string.match(ARGV[2], '%d*$')
for i = 3, #ARGV do
  local began = redis.call('HGET', KEYS[1], ARGV[i])
  if began then
    local id = 'lost-' .. ARGV[1] .. '-' .. newest .. '-' .. ARGV[i] -- the node may be found dead again
    local got = write_event('disconnected', id, string.sub(began, 1, -2) .. ',"reason":"node lost"}')
    if type(got) == 'table' then return got end
    redis.call('HDEL', KEYS[1], ARGV[i])
    told = told + 1
  end
end
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('HDEL', KEYS[2], ARGV[1]) end
return told
