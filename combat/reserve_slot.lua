-- Reserves one of a user's slots for a new fight.
--
-- KEYS[1]  the user's slots, a zset: ids of the fights that hold them, by start, Unix ms
-- ARGV[1]  id of the new fight
-- ARGV[2]  its start, Unix ms
-- ARGV[3]  how many slots a user has
-- ARGV[4]  TTL of the slots, ms
-- returns  {} when a slot was free, or is this fight's already; otherwise the ids of the fights that hold them, oldest first
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return redis.call('ZRANGE', KEYS[1], 0, -1)
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {}
