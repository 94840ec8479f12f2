-- Ends a challenge, or opens it again after it was accepted in vain. In front stand the functions
-- about challenges, and those about records (internal/once/record).
--
-- KEYS[1]  the challenges to the character, a hash
-- KEYS[2]  only with an idempotency key: its record
-- ARGV[1]  the challenge's id
-- ARGV[2]  '' for a challenge that is open; else the fight for which it was accepted
-- ARGV[3]  D to end it, O to open it again
-- ARGV[4]  with KEYS[2]: what once.Args returns: token, digest, keep (ms), answer
-- returns  {'ok', record}; {'done'} when it has ended before; {'over'} when it is not there, or is
--          not as ARGV[2] says; {'once', …} as offer_challenge.lua
if KEYS[2] then
  local refused = once_check(KEYS[2], ARGV[4], ARGV[5])
  if refused then return {'once', refused[1], refused[2] or ''} end
end
local c = challenge_read(redis.call('HGET', KEYS[1], ARGV[1]), challenge_clock())
if c and c.state == 'D' and ARGV[2] == '' then return {'done'} end
local holds = c and (ARGV[2] == '' and c.state == 'O' or c.state == 'A' and c.fight == ARGV[2])
if not holds then return {'over'} end
c.state, c.fight, c.till = ARGV[3], '-', c.expiry
challenge_write(KEYS[1], ARGV[1], c)
if KEYS[2] then once_answer(KEYS[2], ARGV[5], ARGV[6], ARGV[7]) end
return {'ok', c.record}
