-- Reads a page of the users of a scope.
-- KEYS[1]  the users of the scope, a zset   KEYS[2]  what is shown of them, a hash
-- ARGV[1]  the id after which the page begins, or ''   ARGV[2]  how many users at most
-- returns  {how many users there are in all,
--           then of each user of the page the id and what is shown, '' if nothing is stored ...}
local from = '-'
if ARGV[1] ~= '' then from = '(' .. ARGV[1] end
local reply = {redis.call('ZCARD', KEYS[1])}
local users = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, ARGV[2])
if #users > 0 then
  local shown = redis.call('HMGET', KEYS[2], unpack(users))
  for i, user in ipairs(users) do
    reply[#reply + 1] = user
    reply[#reply + 1] = shown[i] or ''
  end
end
return reply
