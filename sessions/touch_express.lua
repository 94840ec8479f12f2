-- Slides a session of express-session, as the touch of connect-redis does: its text stays as it is.
-- KEYS[1]  the session, a string of JSON with cookie.originalMaxAge, ms or null
-- ARGV[1]  the TTL for a session whose cookie has no age, ms
-- returns  {left, ttl}, ms; {-2, 0} when there is no such session
local text = redis.pcall('GET', KEYS[1])
if type(text) ~= 'string' then
	return {-2, 0}
end
local ttl = tonumber(ARGV[1])
local ok, session = pcall(cjson.decode, text)
if ok and type(session) == 'table' and type(session.cookie) == 'table' then
	local age = session.cookie.originalMaxAge
	if type(age) == 'number' and age >= 1 and age <= 315360000000 then
		ttl = math.floor(age)
	end
end
local left = math.max(ttl, redis.call('PTTL', KEYS[1]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
return {left, ttl}
