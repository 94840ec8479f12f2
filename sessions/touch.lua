-- Slides a living session: moves its expiry to a full TTL from now, never past its absolute
-- lifetime and never to an earlier time. A session without ttlMs gets the remaining time of its key as TTL.
-- KEYS[1]  the session, a hash
-- ARGV[1]  now, Unix ms   ARGV[2]  the TTL for a session without any expiry, ms
-- returns  {left, ttl}, ms; {-2, 0} when the session does not live
local not_living = {-2, 0}
local f = redis.call('HMGET', KEYS[1], 'userId', 'ttlMs', 'absoluteExpiresAt', 'lastActivityAt')
if not f[1] or f[1] == '' then
	return not_living
end
local now = tonumber(ARGV[1])
local pttl = redis.call('PTTL', KEYS[1])
if pttl == -2 then
	return not_living
end

local function parse_positive(text, most)
	local n = tonumber(text or '')
	if n and n > 0 and n <= most then
		return math.floor(n)
	end
end

local ttl = parse_positive(f[2], 315360000000)
if not ttl then
	ttl = pttl > 0 and pttl or tonumber(ARGV[2])
	redis.call('HSET', KEYS[1], 'ttlMs', string.format('%.0f', ttl))
end
local left = math.max(ttl, pttl)
local absolute = parse_positive(f[3], 9007199254740991)
if absolute then
	left = math.min(left, absolute - now)
end
if left <= 0 then
	redis.call('DEL', KEYS[1])
	return not_living
end
if now > (parse_positive(f[4], 9007199254740991) or 0) then
	redis.call('HSET', KEYS[1], 'lastActivityAt', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
return {left, ttl}
