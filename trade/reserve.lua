-- Takes one of a character's places for open trades.
-- KEYS[1]  the character's open trades
-- ARGV[1]  trade id   ARGV[2]  the partner's user id   ARGV[3]  how many places there are
-- returns  {'ok', now}   {'pair', trade id} there is an open trade with this partner
--          {'full', trade id, …} all places are taken
local all = redis.call('HGETALL', KEYS[1])
local ids = {'full'}
for i = 1, #all, 2 do
  if all[i] == ARGV[1] then return {'ok', string.match(all[i + 1], '^%d+')} end
  if string.match(all[i + 1], '^%d+ (.*)$') == ARGV[2] then return {'pair', all[i]} end
  ids[#ids + 1] = all[i]
end
if #ids > tonumber(ARGV[3]) then return ids end
local at = text(now())
redis.call('HSET', KEYS[1], ARGV[1], at .. ' ' .. ARGV[2])
return {'ok', at}
