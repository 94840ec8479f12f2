-- Finds the character that a user plays: the one of the newest living session that has one, or else
-- the last one that was stored. It is for one server only, because it builds the keys that it
-- reads: the Go code puts SESSION, SESSIONS_BEFORE, SESSIONS_AFTER, LAST_BEFORE and LAST_AFTER in front.
-- user     the user id
-- now      Unix ms
-- returns  the character; '' when there is none; false when only CharacterOf can tell: more than 16
--          sessions, sessions of express-session, or two sessions created at the same time
local function character_of(user, now)
  local ids = redis.call('ZRANGE', SESSIONS_BEFORE .. user .. SESSIONS_AFTER, '0', '-1')
  if #ids > 16 then return false end
  local character, newest = '', -1
  for i = 1, #ids do
    if string.find(ids[i], ':', 1, true) then return false end -- a session of express-session
    local key = SESSION .. ids[i]
    local s = redis.call('HMGET', key, 'userId', 'characterId', 'absoluteExpiresAt')
    local ends = s[3] and tonumber(s[3]) or 0
    if s[1] == user and s[2] and s[2] ~= '' and (ends <= 0 or ends > now) then
      local created = 0
      if #ids > 1 then created = tonumber(redis.call('HGET', key, 'createdAt') or '') or 0 end
      if created == newest then return false end
      if created > newest then character, newest = s[2], created end
    end
  end
  if newest < 0 then character = redis.call('GET', LAST_BEFORE .. user .. LAST_AFTER) or '' end
  return character
end
