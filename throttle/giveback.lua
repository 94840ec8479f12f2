-- Removes one event from a window: on a Cluster, when another policy has refused the event.
-- KEYS[1]  the window
-- ARGV[1]  the stamp that spend.lua returned
-- ARGV[2]  what the event cost
-- returns  1, or 0 when the event is not in the window
local s = redis.call('GET', KEYS[1]) or ''
local stamp, cost = ARGV[1] + 0, ARGV[2] + 0
for i = #s - 4, 1, -5 do
  local a, b, c, d, e = string.byte(s, i, i + 4)
  if a * 4294967296 + b * 16777216 + c * 65536 + d * 256 + e == stamp then
    s = string.sub(s, 1, math.max(0, i - 1 - 5 * (cost - 1))) .. string.sub(s, i + 5)
    if s == '' then
      redis.call('DEL', KEYS[1])
    else
      redis.call('SET', KEYS[1], s, 'KEEPTTL')
    end
    return 1
  end
end
return 0
