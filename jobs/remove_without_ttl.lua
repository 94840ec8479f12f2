-- Removes a key that has no TTL.
-- KEYS[1]  the key
-- returns  1 when it was removed; 0 when it is gone or has a TTL
if redis.call('PTTL', KEYS[1]) == -1 then
	return redis.call('UNLINK', KEYS[1])
end
return 0
