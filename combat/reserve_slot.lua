-- Reserves one of a user's slots for a new fight, or for a challenge that may become one.
--
-- KEYS[1]  the user's slots, a zset: ids of the fights and challenges that hold them, by start, Unix ms
-- ARGV[1]  id of the new fight
-- ARGV[2]  its start, Unix ms
-- ARGV[3]  how many slots a user has
-- ARGV[4]  TTL of the slots, ms
-- ARGV[5]  the id whose slot it takes over; '' for none
-- returns  {} when a slot was free, or is this fight's already; otherwise the ids that hold them, each
--          followed by its start, oldest first
if ARGV[5] ~= '' then redis.call('ZREM', KEYS[1], ARGV[5]) end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {}
