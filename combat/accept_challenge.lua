-- Accepts a challenge, which gives it the id of the fight that will begin. In front stand the
-- functions about challenges.
--
-- KEYS[1]  the challenges to the character, a hash
-- ARGV[1]  the challenge's id   ARGV[2]  a new id for the fight
-- ARGV[3]  how long an accepted challenge is remembered, ms
-- returns  {the fight's id, how long ago it was accepted (ms), when (Unix ms), record}; the id is
--          another one when the challenge was accepted before; {} when it is not open
local now = challenge_clock()
local c = challenge_read(redis.call('HGET', KEYS[1], ARGV[1]), now)
if not c or c.state ~= 'O' and c.state ~= 'A' then return {} end
if c.state == 'O' then
  c.state, c.fight, c.till = 'A', ARGV[2], now + ARGV[3]
  challenge_write(KEYS[1], ARGV[1], c)
end
local at = c.till - ARGV[3]
return {c.fight, whole(now - at), whole(at), c.record}
