-- Stores what one node is configured with, and reads what the others are.
-- KEYS[1]  the hash of the nodes: name to "ms of the last call" and the text, with a space between
-- ARGV     this node, its text, how many ms an entry counts; '' as the text takes the node out
-- returns  name and text of each other node, in turn
local call = redis.call
local now = call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local lease = ARGV[3] + 0
if ARGV[2] == '' then
  call('HDEL', KEYS[1], ARGV[1])
  return {}
end
call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
call('PEXPIRE', KEYS[1], lease)
local all, others = call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local at, text = string.match(all[i + 1], '^(%d+) (.*)$')
  if not at or math.abs(now - at) > lease then
    call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    others[#others + 1] = all[i]
    others[#others + 1] = text
  end
end
return others
