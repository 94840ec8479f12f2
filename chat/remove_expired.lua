-- Removes rules that are over, unless somebody has written them again meanwhile.
--
-- KEYS[1]  the rules, a hash
-- ARGV     pairs: a field, and the value that was read from it
-- returns  how many rules were removed
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then removed = removed + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return removed
