-- Takes users of one node out of a scope: a channel, or the whole game.
-- KEYS[1]  the users of the scope, a zset   KEYS[2]  what is shown of them, a hash
-- KEYS[3]  on how many nodes each is, a hash   KEYS[4]  the users on this node, a set
-- KEYS[5]  for the game only: the set of all users that are online
-- KEYS[6]  for the game only: when users were last online, a zset
-- ARGV[1]  how many users of the node to take out, whoever they are, or 0
-- ARGV[2]  how long the time at which a user was last online is kept, ms
-- ARGV[3]  and more, if ARGV[1] is 0: the ids of the users that leave
-- returns  {how many users there are now, how many left the node,
--           what was shown of each user who is on no node now ...}
local users = {}
if tonumber(ARGV[1]) > 0 then
  users = redis.call('SPOP', KEYS[4], ARGV[1])
else
  for i = 3, #ARGV do
    if redis.call('SREM', KEYS[4], ARGV[i]) == 1 then users[#users + 1] = ARGV[i] end
  end
end
local went = {0, #users}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, user in ipairs(users) do
  if redis.call('HINCRBY', KEYS[3], user, -1) <= 0 then
    local shown = redis.call('HGET', KEYS[2], user)
    redis.call('HDEL', KEYS[3], user)
    redis.call('HDEL', KEYS[2], user)
    redis.call('ZREM', KEYS[1], user)
    if KEYS[5] then
      redis.call('SREM', KEYS[5], user)
      redis.call('ZADD', KEYS[6], string.format('%.0f', now), user)
    end
    if shown then went[#went + 1] = shown end
  end
end
if KEYS[6] then
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
  redis.call('PEXPIRE', KEYS[6], ARGV[2])
end
went[1] = redis.call('ZCARD', KEYS[1])
return went
