-- Adds points for a player, once for each key.
--
-- KEYS[1]  the scores, a zset: points, plus a fraction that is larger if they were reached earlier
-- KEYS[2]  the names, a hash   KEYS[3]  the keys counted lately, a zset by time, Unix ms
-- KEYS[4]  the number of scores counted
-- ARGV[1]  the key   ARGV[2]  the id of the player   ARGV[3]  the name of the player
-- ARGV[4]  the points   ARGV[5]  the current time, Unix ms
-- ARGV[6]  keys counted before this time are forgotten, Unix ms
-- ARGV[7]  when the board expires, Unix ms; 0 is never
-- returns  {1; 0 if the key was counted before; -1 if it would be too many points, and nothing is
--           written; the score}
local was = math.floor(tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or '0'))
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return {0, was}
end
local sum = math.max(0, was + tonumber(ARGV[4]))
if sum > 8388607 then
  return {-1, was}
end
local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[6], 'LIMIT', 0, 50)
if #old > 0 then
  redis.call('ZREM', KEYS[3], unpack(old))
end
-- 23 bits for points and 30 bits for the order fill the 53 bits of a double, so 1 - step / 2^30 is
-- exact.
local step = math.min(1073741823, redis.call('INCR', KEYS[4]))
redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.17g', sum + (1073741824 - step) / 1073741824), ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
if ARGV[7] ~= '0' then
  for i = 1, 4 do
    redis.call('PEXPIREAT', KEYS[i], ARGV[7])
  end
end
return {1, sum}
