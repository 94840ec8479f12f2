-- Reads a value, and takes the lease of a load of it where a load is needed.
-- KEYS[1]  the value   KEYS[2]  the lease of its load   KEYS[3]  says that somebody waits for that load;
--          all in one slot
-- ARGV[1]  the token for the lease   ARGV[2]  the lease's TTL, ms
-- ARGV[3]  a value that lives for so many ms at most is loaded again; 'any' for every value
-- returns  {value, its TTL in ms or -1, taken}; without a value taken; with a value of another type taken + 2
--          taken is 1 if the lease was taken, or if the caller loads without one because Redis is full; else 0
local value = redis.pcall('GET', KEYS[1])
local left, other_type = -1, false
if type(value) == 'string' then
	left = redis.call('PTTL', KEYS[1])
	-- That the source has no value is remembered without a stale part.
	local absent = value == 'null' or string.sub(value, 1, 9) == '{"$tags":' and string.sub(value, -12) == '"data":null}'
	if ARGV[3] ~= 'any' and (left == -1 or absent or left > tonumber(ARGV[3])) then
		return {value, left, 0}
	end
elseif value and value.err then
	if not string.find(value.err, 'WRONGTYPE', 1, true) then
		return value
	end
	other_type = true
end
local taken = 0
local set = redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
if type(set) == 'table' and set.err then
	if not string.find(set.err, 'OOM', 1, true) then
		return set
	end
	taken = 1 -- Redis is full, and gives no leases: each node loads for itself
-- The lease is also ours if the answer to a first call was lost.
elseif set or redis.call('GET', KEYS[2]) == ARGV[1] then
	taken = 1
else
	redis.pcall('SET', KEYS[3], '1', 'PX', ARGV[2]) -- where Redis is full, nobody is waked
end
if other_type then
	return taken + 2
elseif value then
	return {value, left, taken}
end
return taken
