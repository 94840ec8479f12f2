-- Looks at the record of an event, and claims it. The functions of functions.lua stand in front.
-- KEYS[1]  the record
-- ARGV[1]  the token of the caller
-- ARGV[2]  the digest of the payload
-- ARGV[3]  how long the record is kept, ms
-- ARGV[4]  after how many ms a holder counts as dead
-- ARGV[5]  '1' to take the claim of a dead holder
-- ARGV[6]  '1' to claim a record that does not exist
-- returns  what once_look says; {'claimed'}; {'none'} when it was not claimed
local found = once_look(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
if found then return found end
if ARGV[6] ~= '1' then return {'none'} end
once_claim(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
return {'claimed'}
