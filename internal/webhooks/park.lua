-- Takes an event that could not be delivered out of the way of those behind it.
-- KEYS[1]  the events that wait, a stream   KEYS[2]  failed deliveries, a hash
-- KEYS[3]  the parked events, a stream   KEYS[4]  counts, a hash
-- ARGV[1]  its place   ARGV[2]  how many may be parked   ARGV[3…]  field, value, …
-- returns  1; 0 when it was not there
redis.call('XACK', KEYS[1], 'gateways', ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 3))
local removed = redis.call('XTRIM', KEYS[3], 'MAXLEN', ARGV[2])
if removed > 0 then redis.call('HINCRBY', KEYS[4], 'removed', removed) end
return 1
