-- Forgets the fight of two characters, unless they are in another one by now.
--
-- KEYS[1]  the pair, a string: the fight's id
-- ARGV[1]  the fight's id
-- returns  1 when it was forgotten, 0 when it was not there
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
