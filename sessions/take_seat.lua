-- Gives a session one of its user's seats, or renews a node's lease on the seat that it has.
-- KEYS[1]  the user's seats, a hash:
--            <session>         the order number under which the session took its seat
--            <session>|<node>  "until:generation", the lease of a node; until in Unix ms
--            #                 the last order number
-- ARGV[1]  session id   ARGV[2]  node   ARGV[3]  generation   ARGV[4]  lease, ms
-- ARGV[5]  the number of seats
-- ARGV[6]  1: when all seats are taken, the oldest session gives way; 0: this session gets none
-- returns  {1, session, …}: it has a seat, and these sessions gave way; {0}: it has none
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local order, leases = {}, {}
for i = 1, #all, 2 do
	local session = string.match(all[i], '^([^|]*)|')
	if session then
		if (tonumber(string.match(all[i + 1], '^%d+')) or 0) > now then
			leases[session] = leases[session] or {}
			table.insert(leases[session], all[i])
		else
			redis.call('HDEL', KEYS[1], all[i])
		end
	elseif all[i] ~= '#' then
		order[all[i]] = tonumber(all[i + 1]) or 0
	end
end
local others = {}
for session in pairs(order) do
	if not leases[session] then
		redis.call('HDEL', KEYS[1], session)
		order[session] = nil
	elseif session ~= ARGV[1] then
		table.insert(others, session)
	end
end
local answer = {1}
if not order[ARGV[1]] then
	local limit = tonumber(ARGV[5])
	if #others >= limit and ARGV[6] ~= '1' then
		return {0}
	end
	table.sort(others, function(a, b) return order[a] < order[b] end)
	for i = 1, #others - limit + 1 do
		redis.call('HDEL', KEYS[1], others[i], unpack(leases[others[i]]))
		table.insert(answer, others[i])
	end
	redis.call('HSET', KEYS[1], ARGV[1], redis.call('HINCRBY', KEYS[1], '#', 1))
end
redis.call('HSET', KEYS[1], ARGV[1] .. '|' .. ARGV[2], string.format('%.0f:%s', now + ARGV[4], ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return answer
