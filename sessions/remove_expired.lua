-- Removes a session that is gone from the index of its user, and tells of it.
-- KEYS[1]  the user's sessions, a zset of ids by expiry, Unix ms
-- ARGV[1]  a session id   ARGV[2]  the message, as destroy.lua publishes it; '' tells nobody
-- announce, a function of the message, may be set before: see Config.AnnounceLua.
-- returns  {1 when it was in the index, else 0; why its end was not announced, or ''}
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return {0, ''} end
local refused = announce and ARGV[2] ~= '' and announce(ARGV[2])
return {1, type(refused) == 'table' and refused.uncounted and refused.err or ''}
