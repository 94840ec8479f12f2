-- Removes a session that is gone from the index of its user, and tells of it.
-- KEYS[1]  the user's sessions, a zset of ids by expiry, Unix ms
-- ARGV[1]  a session id   ARGV[2]  the message, as destroy.lua publishes it; '' tells nobody
-- announce, a function of the message, may be set before: see Config.AnnounceLua.
-- returns  1; 0 when it was not in the index
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
if announce and ARGV[2] ~= '' then announce(ARGV[2]) end
return 1
