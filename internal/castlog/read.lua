-- Reads what was cast to rooms after a position.
-- KEYS[1]  the head, as in append.lua
-- KEYS[2]  a hash: room to the position of the newest entry that its log dropped
-- ARGV[1]  what the names of logs begin with
-- ARGV[2]  the position
-- ARGV[3]  after how many bytes no further room is read
-- Then the rooms.
-- returns  {epoch, the newest position, boundary, missed, '1' if something may be lacking, how many
--          rooms were read, then each entry}. An entry that is no text is ''.
local found = redis.call('HMGET', KEYS[1], 'epoch', 'position', 'boundary', 'missed', 'floor')
local from, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local is_cut = tonumber(found[5] or 0) > from
local reply, bytes, read = {}, 0, 0
for i = 4, #ARGV do
  if bytes > most then break end
  local room = ARGV[i]
  read = read + 1
  if tonumber(redis.call('HGET', KEYS[2], room) or 0) > from then is_cut = true end
  local entries = redis.pcall('XRANGE', ARGV[1] .. 'room:' .. room, string.format('%.0f-0', from + 1), '+')
  if entries.err then
    is_cut = true
  else
    for _, entry in ipairs(entries) do
      local text = entry[2][2] or ''
      reply[#reply + 1] = text
      bytes = bytes + #text
    end
  end
end
local answer = {found[1] or '', found[2] or '0', found[3] or '', found[4] or '', is_cut and '1' or '0', read}
for _, text in ipairs(reply) do answer[#answer + 1] = text end
return answer
