-- Reads the whole logs of rooms.
-- KEYS[1]  the head, as in append.lua
-- KEYS[2]  a hash: room to the position of the newest entry that its log dropped
-- ARGV[1]  what the names of logs begin with
-- ARGV[2]  after how many bytes no further room is read
-- Then the rooms.
-- returns  {epoch, the newest position, then for each room that was read {the position of the newest
--          entry that was dropped, then the entries}}. A log that cannot be read has the position as
--          its newest dropped entry.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'position')
local position = head[2] or '0'
local reply, bytes = {head[1] or '', position}, 0
for i = 3, #ARGV do
  if bytes > tonumber(ARGV[2]) then break end
  local read = {redis.call('HGET', KEYS[2], ARGV[i]) or '0'}
  local entries = redis.pcall('LRANGE', ARGV[1] .. 'room:' .. ARGV[i], '0', '-1')
  if entries.err then
    read[1] = position
  else
    for _, entry in ipairs(entries) do
      read[#read + 1] = entry
      bytes = bytes + #entry
    end
  end
  reply[#reply + 1] = read
end
return reply
