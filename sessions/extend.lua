-- Gives a living session another TTL, which counts from now and may be shorter than the old one.
-- The absolute lifetime stays.
-- KEYS[1]  the session, a hash
-- ARGV[1]  now, Unix ms   ARGV[2]  the TTL, ms
-- returns  the ms that are left; -2 when the session does not live
local f = redis.call('HMGET', KEYS[1], 'userId', 'absoluteExpiresAt')
if not f[1] or f[1] == '' then
	return -2
end
local left = tonumber(ARGV[2])
local absolute = tonumber(f[2] or '')
if absolute and absolute > 0 then
	left = math.min(left, math.floor(absolute - tonumber(ARGV[1])))
end
if left <= 0 then
	redis.call('DEL', KEYS[1])
	return -2
end
redis.call('HSET', KEYS[1], 'ttlMs', ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
return left
