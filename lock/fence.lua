-- Takes the next fence of a lock, higher than any before. It is kept for a week since it was new.
local function next_fence(key)
  local fence = redis.call('INCR', key)
  if fence == 1 then -- new, or Redis lost it: the time is higher than what it was
    local t = redis.call('TIME')
    fence = t[1] * 1000 + math.floor(t[2] / 1000)
    redis.call('SET', key, string.format('%.0f', fence), 'PX', 604800000)
  end
  return fence
end
