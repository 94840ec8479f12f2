-- Writes or removes a value, ends the lease of a load of it, and tells every node.
-- KEYS[1]  the value   KEYS[2]  the lease of its load   KEYS[3]  says that somebody waits for that load;
--          all in one slot
-- ARGV[1]  the token of a load: write only while that load holds the lease; '' always writes
-- ARGV[2]  the value; '' removes it   ARGV[3]  its TTL, ms; '0' is for ever
-- ARGV[4]  the channel   ARGV[5]  the message
-- returns  1: written or removed; 0: the load has lost its lease, or there was nothing to remove
local of_load = ARGV[1] ~= ''
if of_load and redis.call('GET', KEYS[2]) ~= ARGV[1] then
	return 0
end
local done = 1
local is_awaited = redis.call('UNLINK', KEYS[2], KEYS[3]) > 1
-- A load of what was not there is news only for those who wait for it: nobody has an older value.
local is_news = not of_load or is_awaited or redis.call('EXISTS', KEYS[1]) == 1
if ARGV[2] == '' then
	done = redis.call('UNLINK', KEYS[1])
elseif ARGV[3] == '0' then
	redis.call('SET', KEYS[1], ARGV[2])
else
	redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if is_news then
	redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return done
