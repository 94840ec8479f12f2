-- Reads what was cast to rooms after a position.
-- KEYS[1]  the head, as in append.lua
-- KEYS[2]  a hash: room to the position of the newest entry that its log dropped
-- ARGV[1]  what the names of logs begin with
-- ARGV[2]  the position
-- ARGV[3]  after how many bytes no further room is read
-- Then the rooms.
-- returns  {epoch, the newest position, boundary, missed, '1' if something may be lacking, how many
--          rooms were read, then each entry}. An entry of another program may be ''.
local found = redis.call('HMGET', KEYS[1], 'epoch', 'position', 'boundary', 'missed', 'floor')
local from, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local is_cut = tonumber(found[5] or 0) > from
local reply, bytes, read = {}, 0, 0

-- append_newer appends the entries of a log behind the position, those of other programs too, oldest
-- first. It reads backwards, until each entry of a piece is older.
local function append_newer(key, length)
  local pieces, size = {}, 16
  while length > 0 do
    local start = math.max(0, length - size)
    local newer = {}
    local has_newer = false
    for _, entry in ipairs(redis.call('LRANGE', key, start, length - 1)) do
      local at = tonumber(string.match(entry, '^%d+$', -16) or '')
      if not at or at > from then newer[#newer + 1] = at and entry or '' end
      has_newer = has_newer or not at or at > from
    end
    if not has_newer then break end
    pieces[#pieces + 1] = newer
    length, size = start, size * 2
  end
  for i = #pieces, 1, -1 do
    for _, entry in ipairs(pieces[i]) do
      reply[#reply + 1] = entry
      bytes = bytes + #entry
    end
  end
end

for i = 4, #ARGV do
  if bytes > most then break end
  local key = ARGV[1] .. 'room:' .. ARGV[i]
  read = read + 1
  if tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or 0) > from then is_cut = true end
  local length = redis.pcall('LLEN', key)
  if type(length) == 'table' then
    is_cut = true
  else
    append_newer(key, length)
  end
end
local answer = {found[1] or '', found[2] or '0', found[3] or '', found[4] or '', is_cut and '1' or '0', read}
for _, text in ipairs(reply) do answer[#answer + 1] = text end
return answer
