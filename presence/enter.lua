-- Adds users of one node to a scope: a channel, or the whole game.
-- KEYS[1]  the users of the scope, a zset   KEYS[2]  what is shown of them, a hash
-- KEYS[3]  on how many nodes each is, a hash   KEYS[4]  the users on this node, a set
-- KEYS[5]  for the game only: the set of all users that are online
-- ARGV[1]  when the keys expire, ms
-- ARGV[2]  and more: for each user the id, and what is shown
-- returns  {how many users there are now, the ids of those who were on no node before ...}
local came = {0}
for i = 2, #ARGV, 2 do
  local user = ARGV[i]
  if redis.call('SADD', KEYS[4], user) == 1 and redis.call('HINCRBY', KEYS[3], user, 1) == 1 then
    came[#came + 1] = user
  end
  redis.call('ZADD', KEYS[1], 0, user)
  if KEYS[5] then redis.call('SADD', KEYS[5], user) end
  redis.call('HSET', KEYS[2], user, ARGV[i + 1])
end
for i = 1, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
came[1] = redis.call('ZCARD', KEYS[1])
return came
