-- Tells one server of a quorum which fence was handed out.
-- KEYS[1]  the lock   KEYS[2]  its fence
-- ARGV[1]  the random value of the holder   ARGV[2]  the fence
-- returns  1 if the holder still has the lock here and the fence is at least that high now, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', 604800000)
end
return 1
