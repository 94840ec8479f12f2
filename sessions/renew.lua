-- Ends the old id of a session that goes on under a new id, publishes that, and notes the new id for
-- those who come with the old one. It decides between renewals and ends of the same id.
-- KEYS[1]  the session, a hash   KEYS[2]  the id under which it was renewed, a string
-- ARGV[1]  the channel   ARGV[2]  the message, a JSON object without userId
-- ARGV[3]  the new id    ARGV[4]  how long to keep the note, ms
-- returns  1; 0 when the session has ended; -1 when it was renewed by another call
local user = redis.call('HGET', KEYS[1], 'userId')
if redis.call('DEL', KEYS[1]) == 0 then
	return (redis.call('GET', KEYS[2]) or '') ~= '' and -1 or 0
end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
local message = ARGV[2]
if user then
	message = '{"userId":' .. cjson.encode(user) .. ',' .. string.sub(message, 2)
end
redis.call('PUBLISH', ARGV[1], message)
return 1
