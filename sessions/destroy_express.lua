-- Deletes a session of express-session and says so at once.
-- KEYS[1]  the session, a string
-- ARGV[1]  the channel   ARGV[2]  the message
-- returns  {1 when it was there, else 0, ''}
local there = redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return {there, ''}
