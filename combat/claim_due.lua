-- Returns fights whose deadline has passed, and moves their deadlines, so that no other node gets
-- the same fights before the new deadline.
--
-- KEYS[1]  the deadlines, a zset: fight ids by deadline, Unix ms
-- ARGV[1]  now, Unix ms
-- ARGV[2]  the new deadline, Unix ms
-- ARGV[3]  how many fights at most
-- returns  the ids, those with the oldest deadlines first
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[2], id)
end
return due
