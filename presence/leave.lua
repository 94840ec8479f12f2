-- Takes users of one node out of a scope: a channel, or the whole game.
-- KEYS[1]  the users of the scope, a zset   KEYS[2]  what is shown of them, a hash
-- KEYS[3]  on how many nodes each is, a hash   KEYS[4]  the users on this node, a set
-- KEYS[5]  and KEYS[6]  what was sent about them, see notify.lua
-- KEYS[7]  for the game only, about which nothing is sent: the set of all users that are online
-- KEYS[8]  for the game only: when users were last online, a zset
-- ARGV[1]  how many users of the node to take out, whoever they are, or 0
-- ARGV[2]  how long the time at which a user was last online is kept, ms
-- ARGV[3]  how long what is pending is kept, ms   ARGV[4]  nothing is sent to a channel of more users
-- ARGV[5]  and more, if ARGV[1] is 0: the ids of the users that leave; without one the script only
--          settles what is pending
-- returns  {how many users there are now, how many left the node, and what notify adds ...}
local users = {}
if tonumber(ARGV[1]) > 0 then
  users = redis.call('SPOP', KEYS[4], ARGV[1])
else
  for i = 5, #ARGV do
    if redis.call('SREM', KEYS[4], ARGV[i]) == 1 then users[#users + 1] = ARGV[i] end
  end
end
local size = redis.call('ZCARD', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local changes = {}
for _, user in ipairs(users) do
  if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
    changes[#changes + 1] = user
    changes[#changes + 1] = redis.call('HGET', KEYS[2], user)
    redis.call('HDEL', KEYS[3], user)
    redis.call('HDEL', KEYS[2], user)
    redis.call('ZREM', KEYS[1], user)
    if KEYS[7] then
      redis.call('SREM', KEYS[7], user)
      redis.call('ZADD', KEYS[8], string.format('%.0f', now), user)
    end
  end
end
if KEYS[8] then
  redis.call('ZREMRANGEBYSCORE', KEYS[8], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
  redis.call('PEXPIRE', KEYS[8], ARGV[2])
end
local count = redis.call('ZCARD', KEYS[1])
if KEYS[7] then return {count, #users, -1} end
return notify({count, #users}, changes, size, tonumber(ARGV[4]), ARGV[3])
