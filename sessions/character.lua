-- Which character a user plays, now in Unix ms. For one server: the keys of the sessions are found here.
-- returns  the character, '' for none; false when somebody must read the sessions to know
local function character_of(user, now)
  local ids = redis.call('ZRANGE', SESSIONS_BEFORE .. user .. SESSIONS_AFTER, 0, -1)
  if #ids > 16 then return false end
  local newest, character = -1, ''
  for i = 1, #ids do
    if string.find(ids[i], ':', 1, true) then return false end -- of another kind
    local s = redis.call('HMGET', SESSION .. ids[i], 'userId', 'characterId', 'createdAt', 'absoluteExpiresAt')
    local absolute = tonumber(s[4] or '') or 0
    if s[1] == user and s[2] and s[2] ~= '' and (absolute <= 0 or absolute > now) then
      local created = tonumber(s[3] or '') or 0
      if created == newest then return false end
      if created > newest then newest, character = created, s[2] end
    end
  end
  if newest < 0 then character = redis.call('GET', LAST_BEFORE .. user .. LAST_AFTER) or '' end
  return character
end
