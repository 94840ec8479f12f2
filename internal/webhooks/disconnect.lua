-- Tells that connections have ended, once each. What is told is what was told of the beginning, with
-- the reason.
-- KEYS[1]  the connections of a node, a hash
-- ARGV[1]  the reason, JSON   ARGV[2]  a connection, and so on
-- returns  how many had not been told
local told = 0
for i = 2, #ARGV do
  local began = redis.call('HGET', KEYS[1], ARGV[i])
  if began then
    redis.call('HDEL', KEYS[1], ARGV[i])
    webhook('disconnected', '', string.sub(began, 1, -2) .. ',"reason":' .. ARGV[1] .. '}')
    told = told + 1
  end
end
return told
