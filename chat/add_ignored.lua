-- Adds a user to those whom another ignores.
-- KEYS[1]  the ignored, a set of user ids
-- ARGV[1]  the user to add   ARGV[2]  how many there may be
-- returns  how many there are, with the user; -1 when there is no room for one more
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then
  if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return -1 end
  redis.call('SADD', KEYS[1], ARGV[1])
end
return redis.call('SCARD', KEYS[1])
