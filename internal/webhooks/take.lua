-- Takes or renews the lease of the node that delivers, and reads events.
-- KEYS[1]  the lease   KEYS[2]  the events that wait, a stream
-- ARGV[1]  the node's own token   ARGV[2]  the lease, ms
-- ARGV[3]  '>' for new events, or the place behind which to read those that were read before
-- ARGV[4]  how many at most
-- returns  {how many wait, read or not, {{place, {field, value, …}}, …}}; nil when another node has
--          the lease
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local function read()
  return redis.pcall('XREADGROUP', 'GROUP', 'gateways', 'gateway', 'COUNT', ARGV[4], 'STREAMS', KEYS[2], ARGV[3])
end
local got = read()
if got and got.err and string.find(got.err, 'NOGROUP', 1, true) then
  redis.call('XGROUP', 'CREATE', KEYS[2], 'gateways', '0', 'MKSTREAM')
  got = read()
end
if got and got.err then return got end
return {redis.call('XLEN', KEYS[2]), got and got[1][2] or {}}
