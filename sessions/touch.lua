-- Slides a living session to its full ttl, never past its absolute lifetime and never
-- to an earlier time. A session made without ttlMs keeps what is left of it as its ttl.
-- KEYS[1]  the session, a hash
-- ARGV[1]  now, Unix ms   ARGV[2]  ttl of a session that was made without any expiry, ms
-- returns  {left, ttl}, ms; {-2, 0} when there is no such session, or none any more
local gone = {-2, 0}
local f = redis.call('HMGET', KEYS[1], 'userId', 'ttlMs', 'absoluteExpiresAt', 'lastActivityAt')
if not f[1] or f[1] == '' then
	return gone
end
local now = tonumber(ARGV[1])
local pttl = redis.call('PTTL', KEYS[1])
if pttl == -2 then
	return gone
end

local function number(text, most)
	local n = tonumber(text or '')
	if n and n > 0 and n <= most then
		return math.floor(n)
	end
end

local ttl = number(f[2], 315360000000)
if not ttl then
	ttl = pttl > 0 and pttl or tonumber(ARGV[2])
	redis.call('HSET', KEYS[1], 'ttlMs', string.format('%.0f', ttl))
end
local left = math.max(ttl, pttl)
local absolute = number(f[3], 9007199254740991)
if absolute then
	left = math.min(left, absolute - now)
end
if left <= 0 then
	redis.call('DEL', KEYS[1])
	return gone
end
if now > (number(f[4], 9007199254740991) or 0) then
	redis.call('HSET', KEYS[1], 'lastActivityAt', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
return {left, ttl}
