-- Removes sessions that are gone from the index of their user, and tells of them.
-- KEYS[1]  the user's sessions, a zset of ids by expiry, Unix ms
-- ARGV[1]  a session id   ARGV[2]  the message, as destroy.lua publishes it   and so on
-- announce, a function of the message, may be set before: see Config.AnnounceLua.
-- returns  how many were in the index
local removed = 0
for i = 1, #ARGV, 2 do
	if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
		removed = removed + 1
		if announce then announce(ARGV[i + 1]) end
	end
end
return removed
