-- Takes out rules that are over, unless they were made anew meanwhile.
-- KEYS[1]  the rules, a hash
-- ARGV[1]  field, ARGV[2] what stood there, and so on
-- returns  how many it took out
local gone = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then gone = gone + redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return gone
