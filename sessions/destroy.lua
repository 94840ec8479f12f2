-- Publishes the revocation of a session and deletes it, even when the session was gone already: a
-- socket may have outlived it. PUBLISH comes first: when our user has no right to the channel, the
-- script ends there and the session stays. Nobody hears the message before the script has ended.
-- KEYS[1]  the session, a hash
-- KEYS[2]  the id under which it was renewed, a string; '' when it ended
-- ARGV[1]  the channel   ARGV[2]  the message, a JSON object without userId
-- ARGV[3]  how long to note that it ended, ms
-- ARGV[4]  what stands before a user's id in the key of its index   ARGV[5]  what stands behind it
-- ARGV[6]  its id; the three only on one server
-- announce, a function of the message, may be set before: see Config.AnnounceLua.
-- returns  {1 when it existed, else 0; its user id or ''; the id under which it goes on, or ''}
local user = redis.call('HGET', KEYS[1], 'userId')
local renewed = redis.call('GET', KEYS[2])
local message = ARGV[2]
if user then
	message = '{"userId":' .. cjson.encode(user) .. ',' .. string.sub(message, 2)
end
redis.call('PUBLISH', ARGV[1], message)
local existed = redis.call('DEL', KEYS[1])
if existed == 1 then
	redis.call('SET', KEYS[2], '', 'PX', ARGV[3])
	if user and ARGV[4] then redis.pcall('ZREM', ARGV[4] .. user .. ARGV[5], ARGV[6]) end
	if announce then announce(message) end
end
return {existed, user or '', renewed or ''}
