-- Finds what the Redis user may not do, and does none of it. It runs no command but those of the
-- table redis.
-- ARGV[1]  JSON: {commands: [[name, argument…]…], keys: [key…], channels: [channel…]}; in the
--          arguments of a command KEY stands for a key, and CHANNEL for a channel
-- returns  {0} when the server has no redis.acl_check_cmd (before Redis 7.0), else
--          {1, text…}: "+name" a command that is not allowed, "?name" a command that the server does
--          not have, "~n" and "&n" a key and a channel that are not allowed, by number from 1
if not redis.acl_check_cmd then return {0} end
local needs = cjson.decode(ARGV[1])
local missing = {1}

local function may(...) -- true or false; nil when the server does not have the command
	local known, allowed = pcall(redis.acl_check_cmd, ...)
	if known then return allowed end
end

-- find adds the names that two commands may not use. When one of the commands may use no name at
-- all, the command is what is missing, which the loop over the commands finds. find returns a name
-- that is allowed, or nil when none is; then commands that need such a name are not judged.
local function find(mark, names, first, second)
	local a, b, any_a, any_b, usable = {}, {}, false, false, nil
	for i, name in ipairs(names) do
		a[i], b[i] = first(name), second(name)
		any_a, any_b = any_a or a[i], any_b or b[i]
		if a[i] or b[i] then usable = usable or name end
	end
	for i in ipairs(names) do
		if not usable or any_a and not a[i] or any_b and not b[i] then
			table.insert(missing, mark .. i)
		end
	end
	return usable
end

local key = find('~', needs.keys, function(k) return may('get', k) end, function(k) return may('set', k, '') end)
local channel = find('&', needs.channels, function(c) return may('publish', c, '') end, function(c) return may('subscribe', c) end)
for _, command in ipairs(needs.commands) do
	local judged = true
	for i, argument in ipairs(command) do
		if argument == 'KEY' then
			command[i], judged = key, judged and key ~= nil
		elseif argument == 'CHANNEL' then
			command[i], judged = channel, judged and channel ~= nil
		end
	end
	if judged then
		local allowed = may(unpack(command))
		if allowed == nil then
			table.insert(missing, '?' .. command[1])
		elseif not allowed then
			table.insert(missing, '+' .. command[1])
		end
	end
end
return missing
