-- next_fence takes the next fence of a lock, which is higher than any before. A new counter is kept
-- for a week.
local function next_fence(key)
  local fence = redis.call('INCR', key)
  if fence == 1 then -- new, or lost by Redis: the current time is higher than the old counter
    local t = redis.call('TIME')
    fence = t[1] * 1000 + math.floor(t[2] / 1000)
    redis.call('SET', key, string.format('%.0f', fence), 'PX', 604800000)
  end
  return fence
end
