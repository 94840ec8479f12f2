-- Removes the record that two characters fight each other, unless they have another fight by now.
--
-- KEYS[1]  the record, a string: the id of the fight
-- ARGV[1]  the id of the fight that ended
-- returns  1 when the record was removed, 0 when it was not there or names another fight
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
