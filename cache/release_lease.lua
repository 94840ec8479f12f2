-- Ends the lease of a load that stores nothing.
-- KEYS[1]  the lease   ARGV[1]  the token of the load
-- returns  1 if the load still held the lease, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
