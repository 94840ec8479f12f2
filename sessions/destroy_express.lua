-- Publishes the revocation of a session of express-session and deletes it; see destroy.lua.
-- KEYS[1]  the session, a string
-- ARGV[1]  the channel   ARGV[2]  the message
-- returns  {1 when it existed, else 0; ''; ''; ''}, as destroy.lua
redis.call('PUBLISH', ARGV[1], ARGV[2])
local existed = redis.call('DEL', KEYS[1])
if existed == 1 and announce then announce(ARGV[2]) end
return {existed, '', ''}
