-- Has a parked event delivered again, behind those that wait.
-- KEYS[1]  the parked events, a stream   KEYS[2]  the events that wait, a stream
-- ARGV[1]  the place among the parked ones   ARGV[2]  how many events may wait
-- returns  1; 0 when it is not parked; -1 when too many events wait
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not found then return 0 end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then return -1 end
local event = {}
for i = 1, #found[2], 2 do event[found[2][i]] = found[2][i + 1] end
redis.call('XADD', KEYS[2], '*', 'type', event.type, 'id', event.id, 'data', event.data, 'at', event.at, 'players', event.players)
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
