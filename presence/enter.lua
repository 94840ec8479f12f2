-- Adds users of one node to a scope: a channel, or the whole game.
-- KEYS[1]  the users of the scope, a zset   KEYS[2]  what is shown of them, a hash
-- KEYS[3]  on how many nodes each is, a hash   KEYS[4]  the users on this node, a set
-- KEYS[5]  and KEYS[6]  what was sent about them, see notify.lua
-- KEYS[7]  for the game only, about which nothing is sent: the set of all users that are online
-- ARGV[1]  when the keys expire, ms   ARGV[2]  nothing is sent to a channel of more users
-- ARGV[3]  and more: for each user the id, and what is shown
-- returns  {how many users there are now, 0, and what notify adds ...}
local changes = {}
for i = 3, #ARGV, 2 do
  local user = ARGV[i]
  if redis.call('SADD', KEYS[4], user) == 1 and redis.call('HINCRBY', KEYS[3], user, 1) == 1 then
    changes[#changes + 1] = user
    changes[#changes + 1] = ''
  end
  redis.call('ZADD', KEYS[1], 0, user)
  if KEYS[7] then redis.call('SADD', KEYS[7], user) end
  redis.call('HSET', KEYS[2], user, ARGV[i + 1])
end
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
local count = redis.call('ZCARD', KEYS[1])
if KEYS[7] then
  redis.call('PEXPIRE', KEYS[7], ARGV[1])
  return {count, 0, -1}
end
return notify({count, 0}, changes, count, tonumber(ARGV[2]), ARGV[1])
