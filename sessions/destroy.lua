-- Deletes a session and says so at once, whether or not it was still there: a socket
-- that outlived its session hears it too.
-- KEYS[1]  the session, a hash
-- ARGV[1]  the channel   ARGV[2]  the message, a JSON object without userId
-- returns  {1 when it was there, else 0, its user id or ''}
local user = redis.call('HGET', KEYS[1], 'userId')
local there = redis.call('DEL', KEYS[1])
local message = ARGV[2]
if user then
	message = '{"userId":' .. cjson.encode(user) .. ',' .. string.sub(message, 2)
end
redis.call('PUBLISH', ARGV[1], message)
return {there, user or ''}
