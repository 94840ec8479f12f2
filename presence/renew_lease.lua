-- Renews the lease of a node, and finds nodes whose leases have ended.
-- KEYS[1]  the live nodes, a zset by the end of their leases
-- KEYS[2]  the dead nodes to sweep, a set
-- ARGV[1]  this node   ARGV[2]  the length of its lease, ms
-- ARGV[3]  and more: nodes that are certainly dead
-- returns  {1 if the node was not among the live ones, how many nodes live, the dead nodes ...}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh = redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))) do
  redis.call('ZREM', KEYS[1], node)
  redis.call('SADD', KEYS[2], node)
end
for i = 3, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
local reply = {fresh, redis.call('ZCARD', KEYS[1])}
for _, node in ipairs(redis.call('SMEMBERS', KEYS[2])) do reply[#reply + 1] = node end
return reply
