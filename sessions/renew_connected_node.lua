-- Renews the lease of a node, and finds out which nodes have none.
-- KEYS[1]  the nodes by the end of their leases, a zset
-- ARGV[1]  the node   ARGV[2]  its lease, ms; 0 ends it
-- ARGV[3]  and more: other nodes
-- returns  {1 if the node had no lease, those of the other nodes that have none ...}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {0}
if ARGV[2] == '0' then
	redis.call('ZREM', KEYS[1], ARGV[1])
else
	redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
	answer[1] = redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
	redis.call('PEXPIRE', KEYS[1], 86400000)
end
for i = 3, #ARGV do
	if (tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or '0') or 0) <= now then answer[#answer + 1] = ARGV[i] end
end
return answer
