-- Which character a user plays. For one server: the keys of the sessions are found here.
-- KEYS[1]  the user's sessions, a zset of ids   KEYS[2]  the character that they played last, a string
-- ARGV[1]  user id   ARGV[2]  what the keys of sessions begin with   ARGV[3]  now, Unix ms
-- returns  the character, '' for none; false when somebody must read the sessions to know
local ids = redis.call('ZRANGE', KEYS[1], 0, -1)
if #ids > 16 then return false end
local newest, character = -1, ''
for _, id in ipairs(ids) do
	if string.find(id, ':', 1, true) then return false end -- of another kind
	local s = redis.call('HMGET', ARGV[2] .. id, 'userId', 'characterId', 'createdAt', 'absoluteExpiresAt')
	local absolute = tonumber(s[4] or '') or 0
	if s[1] == ARGV[1] and s[2] and s[2] ~= '' and (absolute <= 0 or absolute > tonumber(ARGV[3])) then
		local created = tonumber(s[3] or '') or 0
		if created == newest then return false end
		if created > newest then newest, character = created, s[2] end
	end
end
if newest < 0 then character = redis.call('GET', KEYS[2]) or '' end
return character
