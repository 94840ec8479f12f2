-- Deletes a session and publishes the revocation, even when the session was gone already: a socket
-- may have outlived it.
-- KEYS[1]  the session, a hash   KEYS[2]  the id under which it was renewed, a string
-- ARGV[1]  the channel   ARGV[2]  the message, a JSON object without userId
-- returns  {1 when it existed, else 0; its user id or ''; the id under which it goes on, or ''}
local user = redis.call('HGET', KEYS[1], 'userId')
local existed = redis.call('DEL', KEYS[1])
local message = ARGV[2]
if user then
	message = '{"userId":' .. cjson.encode(user) .. ',' .. string.sub(message, 2)
end
redis.call('PUBLISH', ARGV[1], message)
return {existed, user or '', redis.call('GET', KEYS[2]) or ''}
