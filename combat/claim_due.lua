-- Takes on fights whose deadline has come, by moving it: nobody else gets them until then.
--
-- KEYS[1]  the deadlines, a zset of fights by when to look at them, Unix ms
-- ARGV[1]  now, Unix ms            ARGV[2]  their next deadline, Unix ms
-- ARGV[3]  how many at most
-- returns  their ids, those that wait longest first
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[2], id)
end
return due
