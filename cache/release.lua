-- Ends a load that found nothing to store.
-- KEYS[1]  its lease   ARGV[1]  the lease's token
-- returns  1 when the lease was still that load's, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
