-- Notes that a connection began, and tells it, once.
-- KEYS[1]  the connections of this node, a hash
-- ARGV[1]  the connection   ARGV[2]  what is told of it, JSON
-- returns  1; 0 when it was noted before
local isNew = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if isNew == 1 then webhook('connected', '', ARGV[2]) end
return isNew
