-- Ends a claim. The functions of functions.lua stand in front.
-- KEYS[1]  the record
-- ARGV[1]  the token of the holder
-- ARGV[2]  the digest of the payload
-- ARGV[3]  how long the record is kept, ms
-- ARGV[4]  'answer', 'give up' or 'release'
-- ARGV[5]  the answer
-- ARGV[6]  how many bytes of it are kept at most
-- returns  1, or 0 when the holder lost the claim
if once_check(KEYS[1], ARGV[1], ARGV[2]) then return 0 end
if ARGV[4] == 'answer' then
  once_answer(KEYS[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6])
elseif ARGV[4] == 'give up' then
  redis.call('SET', KEYS[1], 'G' .. ARGV[2] .. once_clock() .. ARGV[1], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
