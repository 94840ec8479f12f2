-- Charges an event that is done once: looks at its record, spends, and claims the record if the event
-- is admitted. In front stand "local clock", the functions about records (internal/once/record), and
-- spend.lua as a function spend(KEYS, ARGV).
-- KEYS     those of spend.lua; then the record
-- ARGV     the five of once_look after the record: token, digest, how long a claim is kept (ms),
--          after how many ms a holder counts as dead, '1' to take a dead holder's claim; '1' to claim
--          a record that does not exist; then those of spend.lua
-- returns  what once_look says, if the record stands in the way: nothing was spent; else what
--          spend.lua returns, and the record is claimed if it is to be and the event was admitted
local record, windows, args = KEYS[#KEYS], {}, {}
local found = once_look(record, unpack(ARGV, 1, 5))
if found then return found end
for i = 1, #KEYS - 1 do windows[i] = KEYS[i] end
for i = 7, #ARGV do args[i - 6] = ARGV[i] end
local reply = spend(windows, args)
if ARGV[6] == '1' and (type(reply) ~= 'table' or reply[1] == 0) then once_claim(record, ARGV[1], ARGV[2], ARGV[3]) end
return reply
