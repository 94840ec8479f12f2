-- Tells that connections have begun and ended, in this order: each beginning that was not noted
-- before, and each end whose beginning is noted. What is told of an end is what was told of the
-- beginning, with the reason.
-- KEYS[1]  the connections of a node, a hash
-- Then for each: the id of the event, so that what is written twice is told with one id; the
-- connection; what is told of its beginning, JSON, or '' for an end; the reason of an end, JSON
-- returns  how many were told
local told = 0
for i = 1, #ARGV, 4 do
  local id, conn, data, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if data ~= '' then
    if redis.call('HSETNX', KEYS[1], conn, data) == 1 then
      webhook('connected', id, data)
      told = told + 1
    end
  else
    local began = redis.call('HGET', KEYS[1], conn)
    if began then
      redis.call('HDEL', KEYS[1], conn)
      webhook('disconnected', id, string.sub(began, 1, -2) .. ',"reason":' .. reason .. '}')
      told = told + 1
    end
  end
end
return told
