-- Takes one of a character's places for open trades.
-- KEYS[1]  the character's open trades
-- ARGV[1]  trade id   ARGV[2]  the partner's user id
-- ARGV[3]  '' when the character proposes the trade, 'in' when it is proposed to it
-- ARGV[4]  how many places there are for trades of this direction
-- returns  {'ok', now}   {'pair', trade id} there is an open trade with this partner
--          {'full', trade id, …} all places are taken, by these trades, the oldest first
local all = redis.call('HGETALL', KEYS[1])
local held, since = {}, {}
for i = 1, #all, 2 do
  local id = all[i]
  local at, direction, partner = string.match(all[i + 1], '^(%d+)(%a*) (.*)$')
  if id == ARGV[1] then return {'ok', at} end
  if partner == ARGV[2] then return {'pair', id} end
  if direction == ARGV[3] then
    held[#held + 1] = id
    since[id] = tonumber(at)
  end
end
if #held >= tonumber(ARGV[4]) then
  table.sort(held, function(a, b)
    if since[a] ~= since[b] then return since[a] < since[b] end
    return a < b
  end)
  return {'full', unpack(held)}
end
local at = text(now())
redis.call('HSET', KEYS[1], ARGV[1], at .. ARGV[3] .. ' ' .. ARGV[2])
return {'ok', at}
