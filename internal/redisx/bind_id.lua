-- Binds an id to an operation that may be begun more than once: whoever begins it again goes on
-- with the id of the first.
--
-- KEYS[1]  the record, a string: "<when it was bound, Unix ms> <id>"
-- ARGV[1]  a new id
-- ARGV[2]  the record is kept, ms
-- ARGV[3]  an id that the new one replaces, '' for none
-- returns  {the id that is bound, when it was bound, now}, times in Unix ms by Redis's clock
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local was = redis.call('GET', KEYS[1])
if was then
  local at, id = string.match(was, '^(%d+) (.*)$')
  if id and id ~= ARGV[3] then return {id, at, now} end
end
redis.call('SET', KEYS[1], now .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {ARGV[1], now, now}
