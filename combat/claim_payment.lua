-- Decides whether the victory of a fight is paid: the first so many fights of a day are.
--
-- KEYS[1]  the paid fights of two characters in one day, a set of fight ids
-- ARGV[1]  the fight's id
-- ARGV[2]  how many victories are paid
-- ARGV[3]  TTL, ms
-- returns  1 when it is paid, also when this was decided before; 0 when it is not
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
