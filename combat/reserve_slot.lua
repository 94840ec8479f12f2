-- Takes one of a player's places for a running fight.
--
-- KEYS[1]  the player's running fights, a zset of ids by start, Unix ms
-- ARGV[1]  id of the new fight      ARGV[2]  its start, Unix ms
-- ARGV[3]  how many may run         ARGV[4]  TTL, ms
-- returns  {} when there was a place; else the ids that hold them, the oldest first
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.call('ZRANGE', KEYS[1], 0, -1)
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {}
