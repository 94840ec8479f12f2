-- Ends the old id of a session that goes on under a new id, publishes that, and notes the new id for
-- those who come with the old one. It decides between renewals and ends of the same id. On one server
-- it moves the session in the index of its user too, so that neither id is ever taken for a session
-- that has expired. index, the function of index.lua, stands in front.
-- KEYS[1]  the session, a hash   KEYS[2]  the id under which it was renewed, a string
-- KEYS[3]  the user's sessions, see index.lua; only on one server
-- ARGV[1]  the channel   ARGV[2]  the message, a JSON object without userId
-- ARGV[3]  the new id    ARGV[4]  how long to keep the note, ms
-- ARGV[5]  the old id    ARGV[6…] what index takes; only on one server
-- returns  1; 0 when the session has ended; -1 when it was renewed by another call
local user = redis.call('HGET', KEYS[1], 'userId')
if KEYS[3] then index({KEYS[3]}, {unpack(ARGV, 6)}) end -- first, because it may fail
if redis.call('DEL', KEYS[1]) == 0 then
	if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[3]) end
	return (redis.call('GET', KEYS[2]) or '') ~= '' and -1 or 0
end
if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[5]) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
local message = ARGV[2]
if user then
	message = '{"userId":' .. cjson.encode(user) .. ',' .. string.sub(message, 2)
end
redis.call('PUBLISH', ARGV[1], message)
return 1
