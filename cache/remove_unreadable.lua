-- Removes a value that cannot be read, unless it was replaced meanwhile.
-- KEYS[1]  the value, plain or in an envelope   ARGV[1]  what was read of it, without the envelope
-- returns  1 if the value was removed, else 0
local value = redis.call('GET', KEYS[1])
if value and string.find(value, ARGV[1], 1, true) then
	return redis.call('UNLINK', KEYS[1])
end
return 0
