-- Raises the number by which a node is seen to live, and tells that connections have begun and ended,
-- in this order: each beginning that was not noted before, and each end whose beginning is noted.
-- What is told of an end is what was told of the beginning, with the reason. A change that was told
-- before is left out. All of it is one step: no connection is noted of a node that is not.
-- KEYS[1]  the connections of a node, a hash
-- KEYS[2]  the nodes, a hash of "<number> <its newest change that was told>"
-- ARGV[1]  the node. Then for each change: its number; the connection; what is told of its beginning,
--          JSON, or '' for an end; the reason of an end, JSON
-- returns  the node's number; an error of Redis when it refused an event: that one and those behind
--          it are not told
local beats, told = string.match(redis.call('HGET', KEYS[2], ARGV[1]) or '', '^(%d+) (%d+)$')
beats, told = (tonumber(beats) or 0) + 1, tonumber(told) or 0
local refused
for i = 2, #ARGV, 4 do
  local number, conn, data, reason = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if number > told then
    local id, began, got = ARGV[1] .. '-' .. ARGV[i], redis.call('HGET', KEYS[1], conn), nil
    if data ~= '' and not began then
      got = write_event('connected', id, data)
      if type(got) ~= 'table' then redis.call('HSET', KEYS[1], conn, data) end
    elseif data == '' and began then
      got = write_event('disconnected', id, string.sub(began, 1, -2) .. ',"reason":' .. reason .. '}')
      if type(got) ~= 'table' then redis.call('HDEL', KEYS[1], conn) end
    end
    if type(got) == 'table' then
      refused = got
      break
    end
    told = number
  end
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f %.0f', beats, told))
return refused or beats
